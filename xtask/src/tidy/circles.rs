//! Circles of imports between the files of a crate.
//!
//! An arrow goes from a file to each file that one of its paths names (`use crate::a::B`, `super::c::f()`), a parent that
//! re-exports what stands below it excepted: a `mod.rs` may name its children, and they each other through it.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::source::{self, Source};

/// Finds the circles; each is told once, by the files that are in it.
pub(super) fn find(files: &[Source]) -> Vec<String> {
    let modules: BTreeMap<&[String], usize> =
        files.iter().enumerate().map(|(index, source)| (source.module.as_slice(), index)).collect();
    let arrows: Vec<BTreeSet<usize>> =
        files.iter().enumerate().map(|(index, source)| imports(index, source, &modules)).collect();
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(|from| reach(from, &arrows)).collect();
    let mut told = BTreeSet::new();
    let mut faults = Vec::new();
    for from in 0..files.len() {
        let circle: BTreeSet<usize> =
            reached[from].iter().copied().filter(|to| *to != from && reached[*to].contains(&from)).collect();
        if circle.is_empty() || !told.insert(from) {
            continue;
        }
        told.extend(&circle);
        let names: Vec<String> =
            std::iter::once(from).chain(circle).map(|index| files[index].path.display().to_string()).collect();
        faults.push(format!("these files import each other in a circle: {}", names.join(", ")));
    }
    faults
}

fn reach(from: usize, arrows: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<usize> = arrows[from].iter().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(&arrows[next]);
        }
    }
    reached
}

fn imports(index: usize, source: &Source, modules: &BTreeMap<&[String], usize>) -> BTreeSet<usize> {
    let mut paths = Paths { module: &source.module, found: Vec::new() };
    paths.visit_file(&source.file);
    let mut arrows = BTreeSet::new();
    for path in paths.found {
        // The longest beginning of a path that is a file.
        let file = (0..=path.len()).rev().find_map(|length| modules.get(&path[..length]).copied());
        if let Some(file) = file
            && file != index
            && !is_below(&path, &source.module)
        {
            arrows.insert(file);
        }
    }
    arrows
}

/// Returns `true` if the path stands in a module below this one.
fn is_below(path: &[String], module: &[String]) -> bool {
    path.starts_with(module) && path.len() > module.len()
}

/// The paths of a file that begin at the crate, as segments from its root.
struct Paths<'a> {
    module: &'a [String],
    found: Vec<Vec<String>>,
}

impl Paths<'_> {
    fn tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Name(name) => self.leaf(before, &name.ident.to_string()),
            syn::UseTree::Rename(name) => self.leaf(before, &name.ident.to_string()),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    fn leaf(&mut self, before: &mut Vec<String>, name: &str) {
        before.push(name.to_owned());
        self.add(before);
        before.pop();
    }

    fn add(&mut self, words: &[String]) {
        let mut at = self.module.to_vec();
        match words.first().map(String::as_str) {
            Some("crate") => at.clear(),
            Some("self") => {}
            Some("super") => {
                at.pop();
            }
            _ => return,
        }
        for word in &words[1..] {
            match word.as_str() {
                "super" => {
                    at.pop();
                }
                "self" => {}
                _ => at.push(word.clone()),
            }
        }
        self.found.push(at);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&words);
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !source::is_hidden(&item.attrs) && item.content.is_none() {
            visit::visit_item_mod(self, item);
        }
    }
}
