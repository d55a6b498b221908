//! placeholder
/// TEMP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// a
    Windlass,
    /// b
    Afu9,
}
/// TEMP
pub struct Imported {
    /// c
    pub document: serde_json::Value,
    /// d
    pub diagnostics: Vec<windlass_engine::Problem>,
}
/// TEMP
pub fn detect(_text: &str) -> Dialect {
    Dialect::Windlass
}
/// TEMP
pub fn import(
    _text: &str,
    _dialect: Dialect,
    _fallback_name: &str,
) -> Result<Imported, Vec<windlass_engine::Problem>> {
    Err(vec![])
}
