//! Binary mode.
