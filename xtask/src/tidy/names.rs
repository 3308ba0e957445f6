//! Names of public types that are defined more than once in the workspace.

use std::collections::BTreeMap;

use super::source::{self, Source};

/// Finds the names that two public types share.
///
/// Aliases are left out: a module for each backend has an alias of the same name by design.
pub(super) fn twice(files: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in files {
        for item in &source.file.items {
            let (visibility, name, attributes) = match item {
                syn::Item::Struct(item) => (&item.vis, &item.ident, &item.attrs),
                syn::Item::Enum(item) => (&item.vis, &item.ident, &item.attrs),
                syn::Item::Trait(item) => (&item.vis, &item.ident, &item.attrs),
                _ => continue,
            };
            if matches!(visibility, syn::Visibility::Public(_)) && !source::is_hidden(attributes) {
                let line = name.span().start().line;
                places.entry(name.to_string()).or_default().push(format!("{}:{line}", source.path.display()));
            }
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| {
            format!("{}: `{name}` is defined there too: {}", places[0], places[1..].join(", "))
        })
        .collect()
}
