//! The workflows that ship, compiled in.

/// File name and text of each.
pub const SHIPPED: &[(&str, &str)] = &[];
