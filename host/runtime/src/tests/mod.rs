//! Hostile and ordinary guests, written as text: what the sandbox promises, proved on components.
//!
//! [`guest::Guest`] makes a component of a few lines of WebAssembly text; [`bench`] has the host around it.

mod bench;
mod calls;
mod guest;
mod hostile;
mod loading;
