//! Extracts from Rust files the paths and string literals that the rules check. Works on tokens, because a path
//! consists of the same tokens in a `use`, in an expression and in the arguments of a macro.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter, mem,
    path::Path,
};
use syn::Lit;

/// Maps the path of each file, relative to the root of the repository, to its source.
pub type Sources = BTreeMap<String, String>;

#[derive(Default)]
pub struct File {
    /// For example, `shared/src/store/keys.rs`.
    pub name: String,
    /// For example, `shared`.
    pub package: String,
    /// For example, `crate::store::keys`.
    pub module: String,
    pub mentions: Vec<Mention>,
    /// The names that each `use` brings into a module. Maps each pair of a module and a name to the path that the name
    /// stands for.
    aliases: BTreeMap<(String, String), String>,
    /// Modules that have their own file and are compiled only for tests.
    test_modules: Vec<String>,
}

pub struct Mention {
    pub line: usize,
    /// A path from the root of its crate (`crate::store::Store`, `serde_json::Value`), or a string literal in quotes. A
    /// single name outside a `use` is not resolved, because it may be a variable.
    pub text: String,
    pub scope: Scope,
}

#[derive(Clone, Default)]
pub struct Scope {
    /// The path of the module that contains the code, including inline modules. Each pair of braces around the code
    /// adds a step `{<position>` to this path, because a `use` applies only within its braces.
    module: String,
    /// Whether the code is compiled only for tests.
    pub test: bool,
}

impl Mention {
    /// Returns the step that follows the crate `name` in the path, such as `store` in `crate::store::Store`.
    pub fn below(&self, name: &str) -> Option<&str> {
        let below = self.text.strip_prefix(name)?.strip_prefix("::")?;
        Some(first_step(below))
    }

    /// Whether the mention is the crate `name` itself or a path that starts with this crate.
    pub fn names(&self, name: &str) -> bool {
        first_step(&self.text) == name
    }
}

pub fn parent(module: &str) -> Option<&str> {
    Some(module.rsplit_once("::")?.0)
}

fn first_step(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

/// Reads all files in the `src` folders of the shared crate, the functions and the local stack.
pub fn read(root: &Path) -> Vec<File> {
    let functions = fs::read_dir(root.join("functions")).unwrap();
    let folders = functions.map(|f| f.unwrap().path().join("src"));
    let mut folders: Vec<_> = folders.filter(|f| f.is_dir()).collect();
    folders.extend([root.join("shared/src"), root.join("infra/local/src")]);
    let mut sources = Sources::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    parse(&sources)
}

pub fn parse(sources: &Sources) -> Vec<File> {
    let files = sources.iter().map(|(name, text)| File::parse(name, text));
    let mut files: Vec<File> = files.collect();
    let modules: BTreeSet<_> = files.iter().map(|f| f.id(&f.module)).collect();
    let tests = |f: &File| Vec::from_iter(f.test_modules.iter().map(|m| f.id(m)));
    let tests: Vec<String> = files.iter().flat_map(tests).collect();
    for file in &mut files {
        let own = file.id(&file.module);
        let test = tests.iter().any(|module| own.starts_with(module));
        for mut mention in mem::take(&mut file.mentions) {
            mention.scope.test |= test;
            mention.text = file.resolve(&mention, |m| modules.contains(&file.id(m)));
            file.mentions.push(mention);
        }
    }
    files
}

impl File {
    fn parse(name: &str, source: &str) -> File {
        let (package, path) = name.split_once("/src/").unwrap();
        let steps = path.trim_end_matches(".rs").split('/');
        let steps = steps.filter(|step| !["lib", "mod"].contains(step));
        let steps: Vec<&str> = iter::once("crate").chain(steps).collect();
        let module = steps.join("::");
        let mut reader = Reader::default();
        reader.scope.module.clone_from(&module);
        let tokens = source.parse();
        reader.flatten(tokens.unwrap_or_else(|error| panic!("{name}: {error}")));
        reader.block();
        File {
            name: name.to_owned(),
            package: package.to_owned(),
            module,
            ..reader.file
        }
    }

    /// Returns an id for a module. The id is unique across all crates.
    fn id(&self, module: &str) -> String {
        format!("{} {module}::", self.package)
    }

    /// Resolves aliases and child modules until the path starts at the root of a crate.
    fn resolve(&self, mention: &Mention, is_module: impl Fn(&str) -> bool) -> String {
        const LONGEST_CHAIN: usize = 8;
        let mut path = mention.text.clone();
        for _ in 0..LONGEST_CHAIN {
            let (first, rest) = path.split_at(first_step(&path).len());
            let mut enclosing = iter::successors(Some(&*mention.scope.module), |m| parent(m))
                .take_while(|m| m.len() >= self.module.len());
            let next = enclosing.find_map(|module| {
                match self.aliases.get(&(module.to_owned(), first.to_owned())) {
                    Some(target) if first_step(target) != first => Some(target.clone() + rest),
                    _ => is_module(&format!("{module}::{first}"))
                        .then(|| format!("{module}::{path}")),
                }
            });
            match next {
                Some(next) if !["", "crate"].contains(&first) => path = next,
                _ => break,
            }
        }
        path.trim_start_matches("::").to_owned()
    }
}

#[derive(Default)]
struct Reader {
    /// Names, punctuation and quoted string values, each with its line number.
    tokens: Vec<(String, usize)>,
    at: usize,
    scope: Scope,
    file: File,
}

impl Reader {
    fn flatten(&mut self, stream: TokenStream) {
        let is_colon = |tree: &TokenTree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ':');
        let mut stream = stream.into_iter().peekable();
        while let Some(tree) = stream.next() {
            let line = tree.span().start().line;
            let text = match &tree {
                TokenTree::Ident(name) => name.to_string().trim_start_matches("r#").to_owned(),
                // `$crate::model` counts as `crate::model`.
                TokenTree::Punct(sign) if sign.as_char() == '$' => continue,
                tree if is_colon(tree) && stream.next_if(is_colon).is_some() => "::".to_owned(),
                TokenTree::Punct(sign) => sign.to_string(),
                TokenTree::Literal(literal) => match Lit::new(literal.clone()) {
                    Lit::Str(text) => format!("\"{}\"", text.value()),
                    Lit::ByteStr(text) => format!("\"{}\"", text.value().escape_ascii()),
                    _ => continue,
                },
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        _ => ("(", ")"),
                    };
                    self.tokens.push((open.to_owned(), line));
                    self.flatten(group.stream());
                    close.to_owned()
                }
            };
            self.tokens.push((text, line));
        }
    }

    /// Reads to the end of a group. `#[cfg(test)]` and `mod name` apply until the next `;` or `}`.
    fn block(&mut self) {
        let mut outer = self.scope.clone();
        while !matches!(self.next(), "" | ")" | "]" | "}") {
            match &*self.next().to_owned() {
                open @ ("(" | "[" | "{") => {
                    if open == "{" {
                        self.scope.module += &format!("::{{{}", self.at);
                    }
                    self.at += 1;
                    self.block();
                    self.at += 1;
                }
                "#" => self.attribute(&mut outer),
                // `pub(in path)` imports nothing.
                "pub" if self.take(&["pub", "(", "in"]) => self.skip_past(")"),
                "mod" => {
                    self.at += 1;
                    let name = self.path();
                    self.scope.module += &format!("::{name}");
                    if self.scope.test && self.next() == ";" {
                        self.file.test_modules.push(self.absolute("self"));
                    }
                }
                "use" => {
                    self.at += 1;
                    self.import("");
                }
                _ => self.path_or_literal(),
            }
            if matches!(&*self.tokens[self.at - 1].0, ";" | "}") {
                self.scope = outer.clone();
            }
        }
        self.scope = outer;
    }

    fn attribute(&mut self, outer: &mut Scope) {
        self.at += 1;
        let inner = self.take(&["!"]);
        if self.take(&["[", "cfg", "(", "test", ")", "]"]) {
            self.scope.test = true;
            outer.test |= inner;
        } else if self.take(&["[", "doc", "="]) {
            self.skip_past("]");
        }
    }

    fn path_or_literal(&mut self) {
        let path = self.path();
        match path.trim_end_matches("::") {
            "" => {
                if self.next().starts_with('"') {
                    self.mention(self.next().to_owned(), self.at);
                }
                self.at += 1;
            }
            path if path.contains("::") => self.mention(self.absolute(path), self.at - 1),
            name => self.mention(format!("::{name}"), self.at - 1),
        }
    }

    /// Reads one branch of a `use`.
    fn import(&mut self, prefix: &str) {
        let start = self.at;
        let mut path = prefix.to_owned() + &self.path();
        if self.take(&["{"]) {
            while !self.take(&["}"]) {
                self.import(&path);
                if !self.take(&[","]) && self.next() != "}" {
                    self.at += 1;
                }
            }
            return;
        }
        if self.take(&["*"]) {
            path.push('*');
        }
        if self.at > start {
            let path = self.absolute(&path);
            self.mention(path.clone(), self.at - 1);
            let name = match self.take(&["as"]) {
                true => self.path(),
                false => path.rsplit("::").next().unwrap_or_default().to_owned(),
            };
            let key = (self.scope.module.clone(), name);
            self.file.aliases.insert(key, path);
        }
    }

    /// Joins names and `::` into a path. Any other token ends the path.
    fn path(&mut self) -> String {
        let start = self.at;
        self.take(&["::"]);
        let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        while is_name(self.next()) {
            self.at += 1;
            if !self.take(&["::"]) {
                break;
            }
        }
        let tokens = self.tokens[start..self.at].iter();
        tokens.map(|(text, _)| &**text).collect()
    }

    /// Replaces `self` and `super` at the start of a path.
    fn absolute(&self, path: &str) -> String {
        let mut steps: Vec<&str> = Vec::new();
        for (n, step) in path.split("::").enumerate() {
            if n == 0 && ["self", "super"].contains(&step) {
                let scope = self.scope.module.split("::");
                steps = scope.filter(|step| !step.starts_with('{')).collect();
            }
            match step {
                "self" => {}
                "super" => drop(steps.pop()),
                name => steps.push(name),
            }
        }
        steps.join("::")
    }

    fn mention(&mut self, text: String, at: usize) {
        let (line, scope) = (self.tokens[at].1, self.scope.clone());
        self.file.mentions.push(Mention { line, text, scope });
    }

    /// Returns the next token, or an empty string at the end.
    fn next(&self) -> &str {
        self.tokens.get(self.at).map_or("", |(text, _)| text)
    }

    fn take(&mut self, expected: &[&str]) -> bool {
        let next = self.tokens[self.at..].iter().map(|(text, _)| &**text);
        let found = next.take(expected.len()).eq(expected.iter().copied());
        self.at += if found { expected.len() } else { 0 };
        found
    }

    fn skip_past(&mut self, end: &str) {
        while !self.take(&[end]) {
            self.at += 1;
        }
    }
}
