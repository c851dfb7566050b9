//! The committed Rust code of the schemas is what the schema compiler makes of `capnp/` today.
//!
//! After a change of a schema: `OFFSET_REGENERATE=1 cargo test -p offset-proto --test schema_fresh`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler's version shows in what it generates, so the comparison is made with this one only.
const PINNED: &str = "Cap'n Proto version 0.9.2";

#[test]
fn generated_code_is_fresh() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = Command::new("capnp").arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    if version.as_deref().ok() != Some(PINNED) {
        eprintln!("skipped: this test needs the schema compiler, `{PINNED}`; found {version:?}");
        return;
    }
    let generated = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema");
    let _ = fs::remove_dir_all(&generated);
    fs::create_dir_all(&generated).expect("temporary directory");
    generate(&crate_dir.join("../../capnp"), &generated);

    let committed = crate_dir.join("src/schema");
    if std::env::var_os("OFFSET_REGENERATE").is_some() {
        for (name, code) in generated_files(&generated) {
            fs::write(committed.join(name), code).expect("write the generated code");
        }
    }
    let (new, old) = (generated_files(&generated), generated_files(&committed));
    assert_eq!(new.keys().collect::<Vec<_>>(), old.keys().collect::<Vec<_>>());
    for (name, code) in new {
        assert!(code == old[&name], "src/schema/{name} is stale: see the top of this file");
    }
}

fn generate(schemas: &Path, output: &Path) {
    let mut files: Vec<PathBuf> = fs::read_dir(schemas)
        .expect("capnp/")
        .map(|entry| entry.expect("capnp/").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "capnp"))
        .collect();
    files.sort();
    let mut compiler = capnpc::CompilerCommand::new();
    compiler
        .src_prefix(schemas)
        .output_path(output)
        .default_parent_module(vec!["schema".to_owned()]);
    for file in files {
        compiler.file(file);
    }
    compiler.run().expect("the schemas compile");
}

/// Names and contents of the generated files in a directory.
fn generated_files(directory: &Path) -> BTreeMap<String, String> {
    fs::read_dir(directory)
        .expect("readable directory")
        .map(|entry| entry.expect("readable directory").path())
        .filter(|path| path.to_string_lossy().ends_with("_capnp.rs"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("readable file"))
        })
        .collect()
}
