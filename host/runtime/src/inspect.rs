//! Reads what a component is and asks for, without compiling or running it.

use pilothouse_core::manifest::Manifest;

/// What a component says about itself, and what stands against installing it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// `sha256:` and the hex digest of the bytes.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Interfaces imported, with their versions, in the component's order.
    pub imports: Vec<String>,
    /// Interfaces and functions exported.
    pub exports: Vec<String>,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's text.
    pub manifest_text: String,
    /// What an operator should know; any fatal one forbids to load it.
    pub problems: Vec<InspectionProblem>,
}

/// Something wrong with a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectionProblem {
    /// Whether the component cannot be installed with it.
    pub fatal: bool,
    /// What is wrong and what to do.
    pub message: String,
}
