//! Generates the wire code from `proto/`, without a system `protoc`.

use std::error::Error;
use std::fs;
use std::path::Path;

/// The schema, from the workspace root.
const SCHEMA: &str = "proto/doltswarm/v1/syncer.proto";
/// Where the generated file is kept, from the workspace root.
const TARGET: &str = "crates/doltswarm/src/net/pb/doltswarm.v1.rs";

/// Returns the code that the schema gives.
fn generate(root: &Path) -> Result<String, Box<dyn Error>> {
    let include = root.join("proto");
    let descriptors = protox::compile([root.join(SCHEMA)], [include])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        // Chunks are cut out of the received message, not copied.
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    Ok(fs::read_to_string(out.path().join("doltswarm.v1.rs"))?)
}

/// Writes the generated code into the library.
pub(crate) fn write(root: &Path) -> Result<(), Box<dyn Error>> {
    let target = root.join(TARGET);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(target, generate(root)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_wire_code_is_fresh() {
        let root = crate::root();
        let committed = fs::read_to_string(root.join(TARGET)).unwrap();
        let fresh = generate(&root).unwrap();
        assert!(
            committed == fresh,
            "{TARGET} is not what {SCHEMA} gives: run `cargo run -p xtask -- codegen`"
        );
    }
}
