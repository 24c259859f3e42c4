//! Calls and functions in the text of a source.

use crate::read;

/// A call in a source: its receiver or path, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call<'a> {
    /// `x.name(`, with `x`.
    Method(&'a str, &'a str),
    /// `X::name(`, with `X`.
    Path(&'a str, &'a str),
    Free(&'a str),
}

/// A call with its place in the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) call: Call<'a>,
    /// Where the arguments begin.
    pub(crate) start: usize,
    source: &'a str,
}

impl<'a> Site<'a> {
    /// Returns the text between the parentheses.
    pub(crate) fn arguments(&self) -> &'a str {
        enclosed(&self.source[self.start - 1..])
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Splits off the last word of a text.
pub(crate) fn last_word(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(is_word).len())
}

/// Returns the words of a text, each with its place.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = text.char_indices().filter(move |(at, c)| {
        is_word(*c) && !text[..*at].chars().next_back().is_some_and(is_word)
    });
    starts.map(move |(at, _)| {
        let rest = &text[at..];
        (at, &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
    })
}

/// Returns every call in a source. A function definition counts as a call of its name.
pub(crate) fn calls(source: &str) -> Vec<Call<'_>> {
    sites(source).into_iter().map(|site| site.call).collect()
}

/// Returns every call in a source, with its place.
pub(crate) fn sites(source: &str) -> Vec<Site<'_>> {
    let mut sites = Vec::new();
    for (at, _) in source.match_indices('(') {
        let mut head = &source[..at];
        if head.ends_with('>')
            && let Some(turbofish) = head.rfind("::<")
        {
            head = &head[..turbofish];
        }
        let (before, name) = last_word(head);
        if name.is_empty() {
            continue;
        }
        let before = before.trim_end();
        let call = if let Some(before) = before.strip_suffix('.') {
            Call::Method(last_word(before.trim_end()).1, name)
        } else if let Some(before) = before.strip_suffix("::") {
            Call::Path(last_word(before).1, name)
        } else {
            Call::Free(name)
        };
        sites.push(Site { call, start: at + 1, source });
    }
    sites
}

/// Returns the text between a bracket at the start of a text and the bracket that closes it.
fn enclosed(text: &str) -> &str {
    let inner = &text[1..];
    &inner[..end_of(inner, |_| false)]
}

/// Returns where an expression ends: at a character for which `ends` holds that is in no bracket,
/// or at the bracket that closes the one around the expression.
pub(crate) fn end_of(text: &str, ends: impl Fn(char) -> bool) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            c if depth == 0 && ends(c) => return at,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Splits the arguments of a call.
pub(crate) fn arguments(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while !rest.trim().is_empty() {
        let end = end_of(rest, |c| c == ',');
        found.push(rest[..end].trim());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

/// Returns the block that starts at the first `{` of a text.
pub(crate) fn block(text: &str) -> &str {
    let start = text.find('{').expect("a block");
    let mut depth = 0_usize;
    for (at, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[start..=start + at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    panic!("a block without a closing brace: {}", &text[..60.min(text.len())]);
}

/// Reads a source without its tests.
pub(crate) fn source(path: &str) -> String {
    let text = read(path);
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// Returns a source without comments and with empty literals, so that what they contain is not taken
/// for code.
pub(crate) fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => {
                let mut is_escaped = false;
                let end = rest[1..].find(|c| {
                    let ends = c == '"' && !is_escaped;
                    is_escaped = c == '\\' && !is_escaped;
                    ends
                });
                code.push_str("\"\"");
                end.expect("a literal that ends") + 2
            }
            // A character, and not a lifetime.
            '\'' if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => {
                code.push_str("''");
                let first: usize = rest.chars().take(2).map(char::len_utf8).sum();
                first + rest[first..].find('\'').expect("a literal that ends") + 1
            }
            c => {
                code.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// A function in a source.
pub(crate) struct Function<'a> {
    /// The trait it implements; empty in an inherent `impl`; `None` for a free function.
    pub(crate) of: Option<String>,
    pub(crate) name: String,
    /// Names of its parameters, without `self`.
    pub(crate) parameters: Vec<&'a str>,
    /// The type that it returns.
    pub(crate) returns: &'a str,
    pub(crate) body: &'a str,
    /// Whether other modules may call it.
    pub(crate) is_shared: bool,
}

/// Returns the functions of a source.
pub(crate) fn functions_of(source: &str) -> Vec<Function<'_>> {
    let mut impls = Vec::new();
    for (at, _) in source.match_indices("\nimpl") {
        let head = source[at..].split('{').next().unwrap_or_default();
        let body = block(&source[at..]);
        let of = head.split_once(" for ").map_or("", |(before, _)| last_word(before).1);
        let start = at + head.len();
        impls.push((start..start + body.len(), of.to_owned()));
    }
    let mut found = Vec::new();
    for (at, _) in source.match_indices("fn ") {
        let name = source[at + 3..].split(['(', '<']).next().unwrap_or_default();
        let rest = &source[at..];
        // A method declaration in a trait has no body.
        let ends = rest.find(';').unwrap_or(usize::MAX);
        if !name.chars().all(is_word) || rest.find('{').is_none_or(|begins| begins > ends) {
            continue;
        }
        let owner = impls.iter().find(|(range, _)| range.contains(&at));
        let before = source[..at].rsplit('\n').next().unwrap_or_default();
        let (head, _) = rest.split_once('{').unwrap_or_default();
        let inputs = head.find('(').map_or("", |open| enclosed(&head[open..]));
        let parameters = arguments(inputs).into_iter();
        let parameters = parameters.filter_map(|parameter| parameter.split_once(':'));
        found.push(Function {
            of: owner.map(|(_, of)| of.clone()),
            name: name.to_owned(),
            parameters: parameters.map(|(names, _)| names.trim()).collect(),
            returns: head.rsplit_once("->").map_or("", |(_, returns)| returns.trim()),
            body: block(rest),
            is_shared: before.starts_with("pub(crate)"),
        });
    }
    found
}
