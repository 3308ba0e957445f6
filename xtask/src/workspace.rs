//! Where things are, and what is there to be checked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The root of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// A library of the workspace and the names of its features.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

impl Workspace {
    /// The workspace that this program was built in.
    pub(crate) fn find() -> Result<Self, Error> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().unwrap_or(here).to_owned();
        if root.join("Cargo.lock").is_file() {
            Ok(Self { root })
        } else {
            Err(Error::Missing(format!("{} is gone; build xtask where the workspace is now", root.display())))
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target_dir(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("target"),
        }
    }

    /// Whether there is a package in this folder.
    pub(crate) fn has_package(&self, folder: &str) -> bool {
        self.root.join(folder).join("Cargo.toml").is_file()
    }

    /// The libraries under `crates/`, sorted by name.
    pub(crate) fn libraries(&self) -> Vec<Library> {
        let mut libraries: Vec<Library> = entries(&self.root.join("crates"))
            .into_iter()
            .filter_map(|folder| {
                let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
                let name = folder.file_name()?.to_str()?.to_owned();
                let features = features(&manifest);
                Some(Library { name, features })
            })
            .collect();
        libraries.sort_by(|a, b| a.name.cmp(&b.name));
        libraries
    }

    /// The folders of the libraries, sorted by name.
    pub(crate) fn library_folders(&self) -> Vec<PathBuf> {
        let crates = self.root.join("crates");
        self.libraries().iter().map(|library| crates.join(&library.name)).collect()
    }

    /// The libraries that have loom models.
    pub(crate) fn modelled(&self) -> Vec<String> {
        self.libraries()
            .into_iter()
            .map(|library| library.name)
            .filter(|name| mentions(&self.root.join("crates").join(name).join("src"), MODELS))
            .collect()
    }
}

/// How a module of loom models may be declared.
const MODELS: [&str; 2] = ["cfg(all(test, tenure_loom))", "cfg(all(tenure_loom, test))"];

/// The features of a manifest, `default` left out: those in its `[features]`, and the optional
/// dependencies that none of them names by `dep:`, each of which is a feature by itself.
fn features(manifest: &str) -> Vec<String> {
    let optional = manifest
        .lines()
        .filter(|line| line.contains("optional = true"))
        .filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned()))
        .filter(|name| !manifest.contains(&format!("\"dep:{name}\"")));
    named(manifest).into_iter().chain(optional).collect()
}

/// The names in a manifest's `[features]`, `default` left out.
fn named(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0.trim().trim_matches('"')))
        .filter(|name| *name != "default")
        .map(str::to_owned)
        .collect()
}

/// Whether a Rust file in this folder, or below, has one of the texts.
fn mentions(folder: &Path, texts: [&str; 2]) -> bool {
    entries(folder).into_iter().any(|path| {
        if path.is_dir() {
            mentions(&path, texts)
        } else {
            path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path).is_ok_and(|source| texts.iter().any(|text| source.contains(text)))
        }
    })
}

/// What is in a folder; nothing, if it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::features;

    #[test]
    fn features_are_read_from_their_table_alone() {
        let manifest = "\
[package]
name = \"x\"

[features]
default = [\"tracing\"]
# Why this one.
macros = [\"dep:x-macros\"]
tracing = [
    \"dep:tracing\",
]

[dependencies]
tokio = { version = \"1\" }
tracing = { version = \"1\", optional = true }
x-macros = { version = \"1\", optional = true }
log = { version = \"1\", optional = true }
";
        assert_eq!(features(manifest), ["macros", "tracing", "log"]);
        assert_eq!(features("[dependencies]\ntokio = \"1\"\n"), [""; 0]);
    }
}
