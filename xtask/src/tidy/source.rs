//! The files of a library, parsed.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;

use crate::error::Error;

/// A file of a library.
pub(super) struct Source {
    /// From the root of the repository, to be shown.
    pub(super) path: PathBuf,
    /// The module that the file is: `["stack", "arena"]`; empty for `lib.rs`.
    pub(super) module: Vec<String>,
    pub(super) file: syn::File,
}

/// A piece of documentation, and where it stands.
pub(super) struct Doc {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Doc {
    /// The first paragraph, on one line.
    pub(super) fn summary(&self) -> String {
        let paragraph = self.text.split("\n\n").next().unwrap_or_default();
        paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The text without code.
    pub(super) fn prose(&self) -> String {
        let mut in_code = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if !in_code {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }
}

/// Reads the sources of the library in this folder; their paths are shown from `top`.
pub(super) fn read(top: &Path, folder: &Path) -> Result<Vec<Source>, Error> {
    let root = folder.join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths)?;
    paths.sort();
    paths.into_iter().map(|path| parse(top, &root, &path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = || Error::io(format!("read {}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

fn parse(top: &Path, root: &Path, path: &Path) -> Result<Source, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
    let file = syn::parse_file(&text)
        .map_err(|error| Error::Missing(format!("{} cannot be parsed: {error}", path.display())))?;
    let relative = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let mut module: Vec<String> =
        relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || module.len() == 1 && last == "lib") {
        module.pop();
    }
    let path = path.strip_prefix(top).unwrap_or(path).to_owned();
    Ok(Source { path, module, file })
}

/// The documentation in these attributes.
pub(super) fn doc(attributes: &[syn::Attribute]) -> Option<Doc> {
    let mut text = String::new();
    let mut line = 0;
    for attribute in attributes {
        let syn::Meta::NameValue(pair) = &attribute.meta else { continue };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(value), .. }) = &pair.value else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if text.is_empty() {
            line = attribute.span().start().line;
        }
        let value = value.value();
        text.push_str(value.strip_prefix(' ').unwrap_or(&value));
        text.push('\n');
    }
    (!text.trim().is_empty()).then_some(Doc { line, text })
}

/// Returns `true` if the attributes hide an item from the documentation, or leave it to tests.
pub(super) fn is_hidden(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("doc") => list.tokens.to_string().contains("hidden"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition == "doctest"
        }
        _ => false,
    })
}
