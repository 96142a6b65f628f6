//! Structured and batched mode.
