//! How the code is built: no module imports in a circle, nothing is too long to read, and what a crate
//! offers is used.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sources::{Module, Names, Sources};
use syn::visit::Visit;
use syn::{ImplItem, Item, Visibility};

/// The roots of the crates.
const ROOTS: [&str; 5] = [
    "src/lib.rs",
    "iam/src/lib.rs",
    "server/src/lib.rs",
    "cli/src/main.rs",
    "xtask/src/main.rs",
];
const MAX_LINES_OF_A_FUNCTION: usize = 100;
const MAX_LINES_OF_A_FILE: usize = 600;

/// A file of the checkout.
fn at(path: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the checkout").join(path)
}

/// The module that has what `names` stands for in `module`; `None` if it is another crate's.
fn home(modules: &BTreeMap<Names, Module>, module: &Names, names: &[String]) -> Option<Names> {
    let here = &modules[module];
    let first = names.first()?;
    let mut at = match first.as_str() {
        "crate" => vec!["crate".to_owned()],
        "self" => module.clone(),
        "super" => module[..module.len() - 1].to_vec(),
        // A module's name alone is no value: it is a variable's.
        name if here.children.contains(name) && names.len() > 1 => {
            [module.as_slice(), &[name.to_owned()]].concat()
        }
        name => {
            let whole = here.imported.get(name)?;
            // Not of this crate, or by its own name.
            if whole == names || whole.first() == Some(first) {
                return None;
            }
            return home(modules, module, &[whole, &names[1..]].concat());
        }
    };
    for (index, name) in names.iter().enumerate().skip(1) {
        if name == "super" {
            at.pop();
        } else if modules[&at].children.contains(name) {
            at.push(name.clone());
        } else if let Some(whole) = modules[&at].imported.get(name) {
            return home(modules, &at, &[whole, &names[index + 1..]].concat()).or(Some(at));
        } else {
            break;
        }
    }
    Some(at)
}

/// The file's module that a module is in.
fn file_of(modules: &BTreeMap<Names, Module>, module: &Names) -> Names {
    let mut path = module.clone();
    while modules[&path].is_inline {
        path.pop();
    }
    path
}

/// The modules that each module imports from, those within one file as one.
fn arrows(modules: &BTreeMap<Names, Module>) -> BTreeMap<Names, BTreeSet<Names>> {
    let mut arrows = BTreeMap::<Names, BTreeSet<Names>>::new();
    for (path, module) in modules {
        let from = file_of(modules, path);
        let homes = module.named.iter();
        let homes = homes.filter_map(|names| home(modules, path, names));
        let files = homes.map(|home| file_of(modules, &home));
        let others = files.filter(|file| *file != from).collect::<Vec<_>>();
        arrows.entry(from).or_default().extend(others);
    }
    arrows
}

/// A circle among the arrows, if there is one: each imports from the next, and the last from the first.
fn circle(arrows: &BTreeMap<Names, BTreeSet<Names>>) -> Option<Vec<Names>> {
    // A module that imports nothing that is left is in no circle.
    let mut left: BTreeSet<&Names> = arrows.keys().collect();
    loop {
        let imports = |path: &Names| arrows[path].iter().find(|to| left.contains(to));
        let Some(done) = left.iter().copied().find(|path| imports(path).is_none()) else {
            let mut way: Vec<&Names> = vec![left.first()?];
            loop {
                let next = imports(way[way.len() - 1])?;
                if let Some(start) = way.iter().position(|path| *path == next) {
                    return Some(way[start..].iter().map(|path| (*path).clone()).collect());
                }
                way.push(next);
            }
        };
        left.remove(done);
    }
}

#[test]
fn no_module_imports_in_a_circle() {
    let mut found = Vec::new();
    for root in ROOTS {
        let sources = Sources::read(&at(root));
        let mut arrows = arrows(&sources.modules);
        while let Some(circle) = circle(&arrows) {
            let names: Vec<String> = circle.iter().map(|path| path.join("::")).collect();
            found.push(format!("{root}: {}", names.join(" -> ")));
            let first = arrows.get_mut(&circle[0]).expect("its arrows");
            first.remove(circle.get(1).unwrap_or(&circle[0]));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_function_and_no_file_is_too_long() {
    let mut found = Vec::new();
    for root in ROOTS {
        let sources = Sources::read(&at(root));
        for function in sources.functions {
            if function.lines > MAX_LINES_OF_A_FUNCTION {
                found.push(format!("{}: {} lines", function.place, function.lines));
            }
        }
        for (file, lines) in sources.lines {
            if lines > MAX_LINES_OF_A_FILE {
                found.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The names of items that are public, and the names that public items are made of.
#[derive(Default)]
struct Face {
    offered: BTreeSet<String>,
    made_of: BTreeSet<String>,
}

/// All names in a piece of code, those in macros too.
#[derive(Default)]
struct Words(BTreeSet<String>);

impl<'ast> Visit<'ast> for Words {
    fn visit_ident(&mut self, name: &'ast proc_macro2::Ident) {
        self.0.insert(name.to_string());
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.tokens(invoked.tokens.clone());
    }
}

impl Words {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(name) => drop(self.0.insert(name.to_string())),
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

impl Face {
    fn item(&mut self, item: &Item) {
        let mut words = Words::default();
        let name = match item {
            Item::Fn(item) if is_public(&item.vis) => {
                words.visit_signature(&item.sig);
                &item.sig.ident
            }
            Item::Const(item) if is_public(&item.vis) => {
                words.visit_type(&item.ty);
                &item.ident
            }
            Item::Type(item) if is_public(&item.vis) => {
                words.visit_type(&item.ty);
                &item.ident
            }
            Item::Struct(item) if is_public(&item.vis) => {
                let fields = item.fields.iter();
                for field in fields.filter(|field| is_public(&field.vis)) {
                    words.visit_type(&field.ty);
                }
                &item.ident
            }
            Item::Enum(item) if is_public(&item.vis) => {
                for variant in &item.variants {
                    words.visit_fields(&variant.fields);
                }
                &item.ident
            }
            Item::Impl(item) => return self.methods(item),
            _ => return,
        };
        self.offer(name, words);
    }

    fn methods(&mut self, item: &syn::ItemImpl) {
        for member in &item.items {
            if let ImplItem::Fn(method) = member
                && is_public(&method.vis)
            {
                let mut words = Words::default();
                words.visit_signature(&method.sig);
                self.offer(&method.sig.ident, words);
            }
        }
    }

    fn offer(&mut self, name: &proc_macro2::Ident, mut made_of: Words) {
        let name = name.to_string();
        made_of.0.remove(&name);
        self.made_of.append(&mut made_of.0);
        self.offered.insert(name);
    }
}

/// The names in all Rust files below a folder.
fn words_below(folder: &Path, words: &mut Words) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            words_below(&path, words);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            words.visit_file(&syn::parse_file(&text).expect("Rust"));
        }
    }
}

#[test]
fn all_that_a_crate_offers_is_used_outside() {
    let mut found = Vec::new();
    // `unreachable_pub` sees to it that what is public there can be reached.
    for (root, others) in [
        ("iam/src/lib.rs", ["server/src", "iam/tests", "iam/benches"]),
        (
            "server/src/lib.rs",
            ["cli/src", "server/tests", "server/benches"],
        ),
    ] {
        let mut face = Face::default();
        for item in &Sources::read(&at(root)).items {
            face.item(item);
        }
        assert!(face.offered.len() > 20, "{root}: {}", face.offered.len());
        let mut used = Words(face.made_of);
        for folder in others
            .into_iter()
            .chain(["src", "cli/src", "fuzz/fuzz_targets"])
        {
            words_below(&at(folder), &mut used);
        }
        let unused = face.offered.difference(&used.0);
        found.extend(unused.map(|name| format!("{root}: nobody uses {name}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The results whose error is a text.
#[derive(Default)]
struct TextErrors(usize);

impl<'ast> Visit<'ast> for TextErrors {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if segment.ident == "Result"
            && let syn::PathArguments::AngleBracketed(generic) = &segment.arguments
            && let Some(syn::GenericArgument::Type(syn::Type::Path(error))) =
                generic.args.iter().nth(1)
            && error.path.is_ident("String")
        {
            self.0 += 1;
        }
        syn::visit::visit_path_segment(self, segment);
    }
}

#[test]
fn errors_are_types_with_a_sentence_each() {
    let in_file = |text: &str| {
        let mut errors = TextErrors::default();
        errors.visit_file(&syn::parse_file(text).expect("Rust"));
        errors.0
    };
    let found = in_file("fn f() -> Result<Vec<u8>, String> { g::<io::Result<(), String>>() }");
    assert_eq!(found, 2);
    for root in ["iam/src/lib.rs", "server/src/lib.rs", "cli/src/main.rs"] {
        let mut errors = TextErrors::default();
        for item in &Sources::read(&at(root)).items {
            errors.visit_item(item);
        }
        assert_eq!(errors.0, 0, "{root}: a Result has a String as its error");
    }
}
