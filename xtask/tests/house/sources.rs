//! A crate's modules as they are in its files, without what is only built for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, ItemFn, ItemMod, Macro, UseTree, Visibility};

/// The names of a path, such as `crate`, `policy`, `Context`.
pub type Names = Vec<String>;

/// A module, inline or a file of its own.
#[derive(Default)]
pub struct Module {
    pub children: BTreeSet<String>,
    /// Whether it is in the file of the module around it.
    pub is_inline: bool,
    /// The names that `use` brings in, and what each stands for.
    pub imported: BTreeMap<String, Names>,
    /// The names in the code: the paths in it, and the imports that only this module has.
    pub named: BTreeSet<Names>,
}

/// A function and how many lines it has.
pub struct Function {
    pub place: String,
    pub lines: usize,
}

/// A crate.
#[derive(Default)]
pub struct Sources {
    pub modules: BTreeMap<Names, Module>,
    pub functions: Vec<Function>,
    /// The lines of each file that are not tests.
    pub lines: BTreeMap<PathBuf, usize>,
    /// The items of each file, without tests.
    pub items: Vec<Item>,
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn lines(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}

impl Sources {
    /// Reads a crate from its root file.
    pub fn read(root: &Path) -> Self {
        let mut sources = Self::default();
        sources.file(root, &root.with_file_name(""), vec!["crate".to_owned()]);
        sources
    }

    /// A file with a module, whose own modules are in `folder`.
    fn file(&mut self, file: &Path, folder: &Path, module: Names) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let (tests, items): (Vec<_>, Vec<_>) = parsed
            .items
            .into_iter()
            .partition(|item| is_for_tests(attributes(item)));
        let of_tests: usize = tests.iter().map(lines).sum();
        self.lines
            .insert(file.to_owned(), text.lines().count() - of_tests);
        self.module(&items, file, folder, module);
        self.items.extend(items);
    }

    fn module(&mut self, items: &[Item], file: &Path, folder: &Path, module: Names) {
        let mut reader = Reader {
            file,
            module: Module::default(),
            functions: Vec::new(),
        };
        for item in items {
            let Item::Mod(inner) = item else {
                reader.visit_item(item);
                continue;
            };
            let name = inner.ident.to_string();
            reader.module.children.insert(name.clone());
            let path = [module.as_slice(), std::slice::from_ref(&name)].concat();
            self.inner(inner, file, &folder.join(name), path);
        }
        self.functions.extend(reader.functions);
        self.modules.insert(module, reader.module);
    }

    fn inner(&mut self, inner: &ItemMod, file: &Path, folder: &Path, path: Names) {
        if let Some((_, items)) = &inner.content {
            self.module(items, file, folder, path.clone());
            let module = self.modules.get_mut(&path).expect("read");
            module.is_inline = true;
            return;
        }
        let beside = folder.with_extension("rs");
        let file = if beside.exists() {
            beside
        } else {
            folder.join("mod.rs")
        };
        self.file(&file, folder, path);
    }
}

/// Reads one module's items.
struct Reader<'f> {
    file: &'f Path,
    module: Module,
    functions: Vec<Function>,
}

impl Reader<'_> {
    fn function(&mut self, name: &syn::Ident, function: &impl Spanned) {
        self.functions.push(Function {
            place: format!("{}: {name}", self.file.display()),
            lines: lines(function),
        });
    }

    /// The names that a `use` brings in. One that is passed on is nothing that this module uses itself.
    fn import(&mut self, tree: &UseTree, before: &[String], is_passed_on: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => {
                return self.import(&path.tree, &with(&path.ident), is_passed_on);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, is_passed_on);
                }
                return;
            }
            UseTree::Glob(_) => ("*".to_owned(), before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                (before.last().cloned().unwrap_or_default(), before.to_vec())
            }
            UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident)),
        };
        if !is_passed_on {
            self.module.named.insert(path.clone());
        }
        self.module.imported.insert(name, path);
    }

    /// The paths in a macro's arguments: names with `::` between them.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Names = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.module.named.insert(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => colons = 0,
            }
        }
        self.module.named.insert(path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig.ident, function);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            self.function(&function.sig.ident, function);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_passed_on = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, &[], is_passed_on);
    }

    // `pub(super)` uses nothing of the parent's.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        self.module.named.insert(names.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast Macro) {
        self.tokens(invoked.tokens.clone());
        visit::visit_macro(self, invoked);
    }
}
