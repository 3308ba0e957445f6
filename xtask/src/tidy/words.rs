//! The words of the public documentation, counted.

use std::fmt::Write as _;
use std::path::Path;

use syn::visit::{self, Visit};

use super::source::{self, Doc, Source};

/// The least share of functions whose summary begins with a verb in the third person.
const MIN_VERB_FIRST_PERCENT: usize = 85;

/// How many of [`RARE`] there may be in 10,000 words.
const MAX_RARE_IN_10_000: usize = 3;

/// A summary that begins with one of these describes around its subject.
const VAGUE: [&str; 6] = ["What", "Who", "How", "Whether", "As", "Whose"];

/// Words that no reader would miss.
const RARE: [&str; 14] = [
    "besides",
    "for want of",
    "lest",
    "nevertheless",
    "nobody",
    "of no use",
    "of one's own",
    "somebody",
    "the way without trouble",
    "thereby",
    "wherefore",
    "whoever",
    "whomever",
    "unasked",
];

/// Words that end in `s` and are no verbs.
const NO_VERBS: [&str; 12] = [
    "Always", "As", "Counters", "Its", "Less", "Limits", "Options", "Others", "Perhaps", "Rows", "This",
    "Whose",
];

pub(super) const HEAD: &str = "crate            functions  verb first  vague  rare words in 1,000";

/// What was found in a crate.
pub(super) struct Words {
    functions: usize,
    verb_first: usize,
    not_verb_first: Vec<String>,
    vague: Vec<String>,
    words: usize,
    rare: Vec<String>,
}

pub(super) fn measure(files: &[Source]) -> Words {
    let mut found = Words {
        functions: 0,
        verb_first: 0,
        not_verb_first: Vec::new(),
        vague: Vec::new(),
        words: 0,
        rare: Vec::new(),
    };
    for source in files {
        let mut items = Items { source, found: &mut found };
        items.visit_file(&source.file);
        if let Some(doc) = source::doc(&source.file.attrs) {
            items.prose(&doc);
        }
    }
    found
}

impl Words {
    pub(super) fn row(&self, folder: &Path) -> String {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let percent = percent(self.verb_first, self.functions);
        let in_10_000 = self.rare.len() * 10_000 / self.words.max(1);
        let mut row = String::new();
        let _ = write!(
            row,
            "{name:<16} {:>9} {percent:>9} % {:>6} {:>21}.{}",
            self.functions,
            self.vague.len(),
            in_10_000 / 10,
            in_10_000 % 10
        );
        row
    }

    /// The lines to change, of each kind whose limit is not kept.
    pub(super) fn faults(self) -> Vec<String> {
        let mut faults = self.vague;
        if percent(self.verb_first, self.functions) < MIN_VERB_FIRST_PERCENT {
            faults.extend(self.not_verb_first);
        }
        if self.rare.len() * 10_000 > MAX_RARE_IN_10_000 * self.words {
            faults.extend(self.rare);
        }
        faults
    }
}

fn percent(part: usize, whole: usize) -> usize {
    (part * 100).checked_div(whole).unwrap_or(100)
}

/// Visits what is public.
struct Items<'a> {
    source: &'a Source,
    found: &'a mut Words,
}

impl Items<'_> {
    fn function(&mut self, attributes: &[syn::Attribute]) {
        let Some(doc) = source::doc(attributes) else { return };
        self.found.functions += 1;
        let summary = doc.summary();
        if is_verb_first(&summary) {
            self.found.verb_first += 1;
        } else {
            let line = self.at(&doc, "begin with a verb in the third person", &summary);
            self.found.not_verb_first.push(line);
        }
        self.item(&doc);
    }

    fn item(&mut self, doc: &Doc) {
        let summary = doc.summary();
        let first = summary.split_whitespace().next().unwrap_or_default();
        if VAGUE.contains(&first) {
            let line = self.at(doc, "name the thing first", &summary);
            self.found.vague.push(line);
        }
        self.prose(doc);
    }

    fn prose(&mut self, doc: &Doc) {
        let prose = doc.prose();
        self.found.words += prose.split_whitespace().count();
        let spaced: Vec<&str> = prose.split(|letter: char| !letter.is_alphabetic() && letter != '\'').collect();
        let spaced = format!(" {} ", spaced.join(" ").to_lowercase());
        let spaced = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
        let spaced = format!(" {spaced} ");
        for word in RARE {
            for _ in 0..spaced.matches(&format!(" {word} ")).count() {
                let line = self.at(doc, "say it in plainer words", word);
                self.found.rare.push(line);
            }
        }
    }

    fn at(&self, doc: &Doc, cure: &str, text: &str) -> String {
        format!("{}:{}: {cure}: {text}", self.source.path.display(), doc.line)
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_verb_first(summary: &str) -> bool {
    let first = summary.split(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default();
    first.ends_with('s') && first.chars().next().is_some_and(char::is_uppercase) && !NO_VERBS.contains(&first)
}

impl<'ast> Visit<'ast> for Items<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_public(&item.vis) && !source::is_hidden(&item.attrs) {
            self.function(&item.attrs);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_public(&item.vis) && !source::is_hidden(&item.attrs) {
            self.function(&item.attrs);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if !is_public(&item.vis) || source::is_hidden(&item.attrs) {
            return;
        }
        if let Some(doc) = source::doc(&item.attrs) {
            self.item(&doc);
        }
        for method in &item.items {
            if let syn::TraitItem::Fn(method) = method
                && !source::is_hidden(&method.attrs)
            {
                self.function(&method.attrs);
            }
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.of_type(&item.vis, &item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.of_type(&item.vis, &item.attrs);
        if is_public(&item.vis) {
            visit::visit_item_enum(self, item);
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.of_type(&item.vis, &item.attrs);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.of_type(&item.vis, &item.attrs);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.of_type(&field.vis, &field.attrs);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if let Some(doc) = source::doc(&variant.attrs) {
            self.item(&doc);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !source::is_hidden(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

impl Items<'_> {
    fn of_type(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute]) {
        if is_public(visibility)
            && !source::is_hidden(attributes)
            && let Some(doc) = source::doc(attributes)
        {
            self.item(&doc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_verb_first;

    #[test]
    fn a_verb_is_told_from_other_words() {
        for good in ["Returns the value.", "Sets it.", "Closes `x`."] {
            assert!(is_verb_first(good), "{good}");
        }
        for bad in ["This returns", "The value", "As `x`", "`x` returns", "returns", ""] {
            assert!(!is_verb_first(bad), "{bad}");
        }
    }
}
