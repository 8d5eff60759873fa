//! The fuzz targets. They live with the tests, which run the corpus through them.

#[path = "../../tests/fuzz/targets/mod.rs"]
pub mod targets;
