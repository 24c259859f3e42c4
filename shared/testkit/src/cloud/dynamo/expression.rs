//! Parser of expressions.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::invalid;
use super::reserved::is_reserved;
use crate::cloud::Refusal;

/// Largest size of an expression in bytes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const LONGEST: usize = 4096;

/// Largest number of operators and functions in an expression.
const MOST_OPERATORS: usize = 300;

/// Largest number of operands of `IN`, including the one in front of it.
const MOST_OPERANDS: usize = 100;

/// The kind of an expression in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Condition,
    KeyCondition,
    Filter,
    Projection,
    Update,
}

impl Kind {
    /// The name of the request parameter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Condition => "ConditionExpression",
            Self::KeyCondition => "KeyConditionExpression",
            Self::Filter => "FilterExpression",
            Self::Projection => "ProjectionExpression",
            Self::Update => "UpdateExpression",
        }
    }

    pub(super) fn invalid(self, reason: impl std::fmt::Display) -> Refusal {
        invalid(format!("Invalid {}: {reason}", self.name()))
    }
}

/// A parsed expression, and the placeholders that it uses.
#[derive(Debug)]
pub(super) struct Expression<T> {
    pub(super) kind: Kind,
    pub(super) tree: T,
    /// Placeholders of names, including the `#`.
    pub(super) names: BTreeSet<String>,
    /// Placeholders of values, including the `:`.
    pub(super) values: BTreeSet<String>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of the item or of a map.
    Name(String),
    /// A member given by a placeholder.
    Placeholder(String),
    /// An element of a list.
    Index(usize),
}

/// A document path in an item.
pub(super) type Path = Vec<Step>;

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Path(Path),
    Value(String),
    Size(Box<Operand>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    /// The comparator when the two sides are swapped.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Debug)]
pub(super) enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare(Operand, Comparator, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    Type(Operand, Operand),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
}

#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) set: Vec<(Path, SetValue)>,
    pub(super) remove: Vec<Path>,
    pub(super) add: Vec<(Path, String)>,
    pub(super) delete: Vec<(Path, String)>,
}

impl Update {
    /// Whether it only removes values.
    pub(super) fn only_deletes(&self) -> bool {
        self.set.is_empty() && self.add.is_empty()
    }

    /// Every path that it writes to.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let set = self.set.iter().map(|(path, _)| path);
        let add = self.add.iter().map(|(path, _)| path);
        let delete = self.delete.iter().map(|(path, _)| path);
        set.chain(&self.remove).chain(add).chain(delete)
    }
}

#[derive(Debug)]
pub(super) enum SetValue {
    Is(SetOperand),
    Plus(SetOperand, SetOperand),
    Minus(SetOperand, SetOperand),
}

#[derive(Debug)]
pub(super) enum SetOperand {
    Path(Path),
    Value(String),
    IfNotExists(Path, Box<SetOperand>),
    ListAppend(Box<SetOperand>, Box<SetOperand>),
}

/// Cache of parsed expressions, by their text.
#[derive(Clone, Debug, Default)]
pub(super) struct Expressions {
    conditions: Cache<Condition>,
    updates: Cache<Update>,
    projections: Cache<Vec<Path>>,
}

type Cache<T> = BTreeMap<Kind, BTreeMap<String, Arc<Expression<T>>>>;

impl Expressions {
    pub(super) fn condition(
        &mut self,
        kind: Kind,
        text: &str,
    ) -> Result<Arc<Expression<Condition>>, Refusal> {
        parsed(&mut self.conditions, kind, text, Parser::condition)
    }

    pub(super) fn update(&mut self, text: &str) -> Result<Arc<Expression<Update>>, Refusal> {
        parsed(&mut self.updates, Kind::Update, text, Parser::update)
    }

    pub(super) fn projection(&mut self, text: &str) -> Result<Arc<Expression<Vec<Path>>>, Refusal> {
        parsed(&mut self.projections, Kind::Projection, text, Parser::projection)
    }
}

fn parsed<T>(
    cache: &mut Cache<T>,
    kind: Kind,
    text: &str,
    parse: impl FnOnce(&mut Parser) -> Result<T, Refusal>,
) -> Result<Arc<Expression<T>>, Refusal> {
    let known = cache.entry(kind).or_default();
    if let Some(expression) = known.get(text) {
        return Ok(Arc::clone(expression));
    }
    let mut parser = Parser::new(kind, text)?;
    let tree = parse(&mut parser)?;
    if parser.peek().is_some() {
        return Err(parser.unexpected());
    }
    let Parser { names, values, .. } = parser;
    let expression = Arc::new(Expression { kind, tree, names, values });
    known.insert(text.to_owned(), Arc::clone(&expression));
    Ok(expression)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A plain word: a name, a keyword or a function.
    Word(String),
    /// `#name`.
    Name(String),
    /// `:value`.
    Value(String),
    /// Digits: an index into a list.
    Index(usize),
    /// An operator, a bracket, a comma or a dot.
    Symbol(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Value(text) => formatter.write_str(text),
            Self::Index(index) => write!(formatter, "{index}"),
            Self::Symbol(symbol) => formatter.write_str(symbol),
        }
    }
}

/// Longer symbols come first.
const SYMBOLS: [&str; 14] =
    ["<>", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ",", ".", "+", "-"];

fn tokens(kind: Kind, text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            (Some(Token::Symbol(symbol)), rest.get(symbol.len()..).unwrap_or_default())
        } else {
            let is_prefix = matches!(first, '#' | ':');
            let from = usize::from(is_prefix);
            let length = rest.bytes().skip(from);
            let length = length.take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let (word, after) = rest.split_at_checked(from + length).unwrap_or((rest, ""));
            let token = match first {
                _ if length == 0 => None,
                '#' => Some(Token::Name(word.to_owned())),
                ':' => Some(Token::Value(word.to_owned())),
                _ if first.is_ascii_alphabetic() => Some(Token::Word(word.to_owned())),
                _ => word.parse().ok().map(Token::Index),
            };
            (token, after)
        };
        let token = token.ok_or_else(|| {
            kind.invalid(format!("Syntax error; token: \"{first}\", near: \"{rest}\""))
        })?;
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    kind: Kind,
    tokens: Vec<Token>,
    at: usize,
    operators: usize,
    names: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Parser {
    fn new(kind: Kind, text: &str) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            let reason = "Expression size has exceeded the maximum allowed size; expression size";
            return Err(kind.invalid(format!("{reason}: {}", text.len())));
        }
        let tokens = tokens(kind, text)?;
        if tokens.is_empty() {
            return Err(kind.invalid("The expression can not be empty;"));
        }
        let (names, values) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { kind, tokens, at: 0, operators: 0, names, values })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn unexpected(&self) -> Refusal {
        let near = |from: usize| {
            let near = self.tokens.iter().skip(from).take(3).map(ToString::to_string);
            near.collect::<Vec<_>>().join(" ")
        };
        let token = self.peek().map_or_else(|| "<EOF>".to_owned(), ToString::to_string);
        let near = near(self.at.saturating_sub(1));
        self.kind.invalid(format!("Syntax error; token: \"{token}\", near: \"{near}\""))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn skip_symbol(&mut self, symbol: &str) -> bool {
        let is = self.is_symbol(symbol);
        self.at += usize::from(is);
        is
    }

    fn skip_keyword(&mut self, keyword: &str) -> bool {
        let is = self.is_keyword(keyword);
        self.at += usize::from(is);
        is
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), Refusal> {
        if self.skip_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn operator(&mut self) -> Result<(), Refusal> {
        self.operators += 1;
        if self.operators > MOST_OPERATORS {
            let reason = "The expression contains too many operators; operator count";
            return Err(self.kind.invalid(format!("{reason}: {}", self.operators)));
        }
        Ok(())
    }

    /// The name of a function that is called here.
    fn function(&mut self) -> Option<String> {
        let Some(Token::Word(word)) = self.peek() else { return None };
        let is_called = matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("(")));
        // `IN (` is not a function call, and neither is `AND (`.
        let is_keyword =
            ["AND", "OR", "NOT", "IN", "BETWEEN"].iter().any(|k| word.eq_ignore_ascii_case(k));
        if !is_called || is_keyword {
            return None;
        }
        let word = word.clone();
        self.at += 2;
        Some(word)
    }

    fn name(&mut self) -> Result<Step, Refusal> {
        match self.peek() {
            Some(Token::Word(word)) if is_reserved(word) => Err(self.kind.invalid(format!(
                "Attribute name is a reserved keyword; reserved keyword: {word}"
            ))),
            Some(Token::Word(word)) => {
                let step = Step::Name(word.clone());
                self.at += 1;
                Ok(step)
            }
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                self.names.insert(name.clone());
                Ok(Step::Placeholder(name))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self) -> Result<Path, Refusal> {
        let mut path = vec![self.name()?];
        loop {
            if self.skip_symbol(".") {
                path.push(self.name()?);
            } else if self.skip_symbol("[") {
                let Some(Token::Index(index)) = self.next() else {
                    self.at -= 1;
                    return Err(self.unexpected());
                };
                path.push(Step::Index(index));
                self.symbol("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn value(&mut self) -> Result<String, Refusal> {
        let Some(Token::Value(value)) = self.peek() else { return Err(self.unexpected()) };
        let value = value.clone();
        self.at += 1;
        self.values.insert(value.clone());
        Ok(value)
    }

    // ---- Conditions

    fn condition(&mut self) -> Result<Condition, Refusal> {
        let mut left = self.conjunction()?;
        while self.skip_keyword("OR") {
            self.operator()?;
            left = Condition::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Condition, Refusal> {
        let mut left = self.negation()?;
        while self.skip_keyword("AND") {
            self.operator()?;
            left = Condition::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Condition, Refusal> {
        if self.skip_keyword("NOT") {
            self.operator()?;
            return Ok(Condition::Not(Box::new(self.negation()?)));
        }
        if self.skip_symbol("(") {
            let (from, is_nested) = (self.at, self.is_symbol("("));
            let inner = self.condition()?;
            if is_nested && self.closes(from) + 1 == self.at {
                return Err(self.kind.invalid("The expression has redundant parentheses;"));
            }
            self.symbol(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    /// The position of the bracket that closes the one at `from`.
    fn closes(&self, from: usize) -> usize {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(from) {
            match token {
                Token::Symbol("(") => depth += 1,
                Token::Symbol(")") if depth == 1 => return at,
                Token::Symbol(")") => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        self.tokens.len()
    }

    fn comparison(&mut self) -> Result<Condition, Refusal> {
        let from = self.at;
        if let Some(function) = self.function()
            && function != "size"
        {
            return self.predicate(&function);
        }
        self.at = from;
        let left = self.operand()?;
        if self.skip_keyword("BETWEEN") {
            self.operator()?;
            let lower = self.operand()?;
            if !self.skip_keyword("AND") {
                return Err(self.unexpected());
            }
            let upper = self.operand()?;
            if left == lower || left == upper {
                return Err(self.not_distinct("BETWEEN"));
            }
            return Ok(Condition::Between(left, lower, upper));
        }
        if self.skip_keyword("IN") {
            self.operator()?;
            self.symbol("(")?;
            let mut alternatives = vec![self.operand()?];
            while self.skip_symbol(",") {
                alternatives.push(self.operand()?);
            }
            self.symbol(")")?;
            let operands = alternatives.len() + 1;
            if operands > MOST_OPERANDS {
                return Err(self.kind.invalid(format!(
                    "The IN operator is provided with too many operands; number of operands: \
                     {operands}"
                )));
            }
            if alternatives.contains(&left) {
                return Err(self.not_distinct("IN"));
            }
            return Ok(Condition::In(left, alternatives));
        }
        let comparator = self.comparator()?;
        self.operator()?;
        let right = self.operand()?;
        if left == right {
            return Err(self.not_distinct(comparator.symbol()));
        }
        Ok(Condition::Compare(left, comparator, right))
    }

    fn not_distinct(&self, operator: &str) -> Refusal {
        self.kind.invalid(format!(
            "The first operand must be distinct from the remaining operands for this operator or \
             function; operator: {operator}"
        ))
    }

    fn comparator(&mut self) -> Result<Comparator, Refusal> {
        let comparator = match self.peek() {
            Some(Token::Symbol("=")) => Comparator::Equal,
            Some(Token::Symbol("<>")) => Comparator::NotEqual,
            Some(Token::Symbol("<")) => Comparator::Less,
            Some(Token::Symbol("<=")) => Comparator::LessOrEqual,
            Some(Token::Symbol(">")) => Comparator::Greater,
            Some(Token::Symbol(">=")) => Comparator::GreaterOrEqual,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(comparator)
    }

    fn operand(&mut self) -> Result<Operand, Refusal> {
        if let Some(function) = self.function() {
            self.operator()?;
            if function != "size" {
                return Err(self.misused(&function));
            }
            let operand = self.operand()?;
            if matches!(operand, Operand::Size(_)) {
                return Err(self.misused("size"));
            }
            self.symbol(")")?;
            return Ok(Operand::Size(Box::new(operand)));
        }
        match self.peek() {
            Some(Token::Value(_)) => self.value().map(Operand::Value),
            _ => self.path().map(Operand::Path),
        }
    }

    fn misused(&self, function: &str) -> Refusal {
        let known = [
            "attribute_exists",
            "attribute_not_exists",
            "attribute_type",
            "begins_with",
            "contains",
            "size",
            "if_not_exists",
            "list_append",
        ];
        if known.contains(&function) {
            let reason = "The function is not allowed to be used this way in an expression";
            return self.kind.invalid(format!("{reason}; function: {function}"));
        }
        self.kind.invalid(format!("Invalid function name; function: {function}"))
    }

    /// Parses a function that is a condition, after its opening bracket.
    fn predicate(&mut self, function: &str) -> Result<Condition, Refusal> {
        self.operator()?;
        let condition = match function {
            "attribute_exists" => Condition::Exists(self.path_of(function)?),
            "attribute_not_exists" => Condition::NotExists(self.path_of(function)?),
            "attribute_type" => {
                let operand = self.operand()?;
                self.symbol(",")?;
                Condition::Type(operand, Operand::Value(self.value()?))
            }
            "begins_with" | "contains" => {
                let left = self.operand()?;
                self.symbol(",")?;
                let right = self.operand()?;
                if left == right {
                    return Err(self.not_distinct(function));
                }
                if function == "contains" {
                    Condition::Contains(left, right)
                } else {
                    Condition::BeginsWith(left, right)
                }
            }
            _ => return Err(self.misused(function)),
        };
        self.symbol(")")?;
        Ok(condition)
    }

    fn path_of(&mut self, function: &str) -> Result<Path, Refusal> {
        if matches!(self.peek(), Some(Token::Value(_))) {
            return Err(self.kind.invalid(format!(
                "Operator or function requires a document path; operator or function: {function}"
            )));
        }
        self.path()
    }

    // ---- Updates

    fn update(&mut self) -> Result<Update, Refusal> {
        let mut update = Update::default();
        let mut seen: Vec<&str> = Vec::new();
        while self.peek().is_some() {
            let section = ["SET", "REMOVE", "ADD", "DELETE"];
            let Some(section) = section.into_iter().find(|section| self.is_keyword(section)) else {
                return Err(self.unexpected());
            };
            self.at += 1;
            if seen.contains(&section) {
                return Err(self.kind.invalid(format!(
                    "The \"{section}\" section can only be used once in an update expression;"
                )));
            }
            seen.push(section);
            loop {
                let path = self.path()?;
                match section {
                    "SET" => {
                        self.symbol("=")?;
                        update.set.push((path, self.set_value()?));
                    }
                    "REMOVE" => update.remove.push(path),
                    "ADD" => update.add.push((path, self.value()?)),
                    _ => update.delete.push((path, self.value()?)),
                }
                self.operator()?;
                if !self.skip_symbol(",") {
                    break;
                }
            }
        }
        Ok(update)
    }

    fn set_value(&mut self) -> Result<SetValue, Refusal> {
        let left = self.set_operand()?;
        if self.skip_symbol("+") {
            return Ok(SetValue::Plus(left, self.set_operand()?));
        }
        if self.skip_symbol("-") {
            return Ok(SetValue::Minus(left, self.set_operand()?));
        }
        Ok(SetValue::Is(left))
    }

    fn set_operand(&mut self) -> Result<SetOperand, Refusal> {
        let Some(function) = self.function() else {
            return match self.peek() {
                Some(Token::Value(_)) => self.value().map(SetOperand::Value),
                _ => self.path().map(SetOperand::Path),
            };
        };
        self.operator()?;
        let operand = match function.as_str() {
            "if_not_exists" => {
                let path = self.path_of(&function)?;
                self.symbol(",")?;
                SetOperand::IfNotExists(path, Box::new(self.set_operand()?))
            }
            "list_append" => {
                let left = self.set_operand()?;
                self.symbol(",")?;
                let right = self.set_operand()?;
                if [&left, &right].iter().any(|list| matches!(list, SetOperand::ListAppend(..))) {
                    return Err(self.misused(&function));
                }
                SetOperand::ListAppend(Box::new(left), Box::new(right))
            }
            _ => return Err(self.misused(&function)),
        };
        self.symbol(")")?;
        Ok(operand)
    }

    // ---- Projections

    fn projection(&mut self) -> Result<Vec<Path>, Refusal> {
        let mut paths = vec![self.path()?];
        while self.skip_symbol(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Expressions, Kind};

    fn condition(text: &str) -> Result<String, String> {
        let parsed = Expressions::default().condition(Kind::Condition, text);
        parsed.map(|parsed| shape(&parsed.tree)).map_err(|refusal| refusal.message)
    }

    fn shape(condition: &Condition) -> String {
        match condition {
            Condition::Or(left, right) => format!("({} | {})", shape(left), shape(right)),
            Condition::And(left, right) => format!("({} & {})", shape(left), shape(right)),
            Condition::Not(inner) => format!("!{}", shape(inner)),
            Condition::Compare(..) => "cmp".to_owned(),
            Condition::Between(..) => "between".to_owned(),
            Condition::In(..) => "in".to_owned(),
            _ => "fn".to_owned(),
        }
    }

    #[test]
    fn not_takes_precedence_over_and_and_and_over_or() {
        for (text, expected) in [
            ("a = :a OR b = :b AND NOT c = :c", "(cmp | (cmp & !cmp))"),
            ("(a = :a or b = :b) and c = :c", "((cmp | cmp) & cmp)"),
            ("a BETWEEN :a AND :b AND c = :c", "(between & cmp)"),
            ("a IN (:a, :b) OR attribute_exists(a.b[0].#c)", "(in | fn)"),
            ("NOT (a <> :a)", "!cmp"),
            ("size(a) > :n AND (begins_with(b, :b) OR contains(c, :c))", "(cmp & (fn | fn))"),
            ("((a = :a) OR (b = :b)) AND c = :c", "((cmp | cmp) & cmp)"),
        ] {
            assert_eq!(condition(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_expression_outside_the_grammar_is_refused() {
        for text in [
            "",
            "a",
            "a =",
            "a = :a AND",
            "= :a",
            "a == :a",
            "a = 'text'",
            "a = 5",
            "_a = :a",
            "a[x] = :a",
            "a[] = :a",
            "a..b = :a",
            "(a = :a",
            "a = :a)",
            "a = :a b = :b",
            "attribute_exists(:a)",
            "attribute_type(a, b)",
            "attribute_exists(a, b)",
            "exists(a)",
            "size(a)",
            "a = begins_with(b, :b)",
            "a = a",
            "((a = :a))",
            "a IN ()",
            "a BETWEEN :a OR :b",
        ] {
            assert!(condition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reserved_words_need_a_placeholder() {
        for text in ["status = :s", "Status = :s", "a.name = :s", "attribute_exists(ttl)"] {
            let refusal = condition(text).unwrap_err();
            assert!(refusal.contains("reserved keyword"), "{text}: {refusal}");
        }
        assert!(condition("#status = :s AND attribute_exists(a.#name)").is_ok());
    }

    #[test]
    fn an_update_contains_each_section_at_most_once() {
        let mut expressions = Expressions::default();
        let update = "SET a = :a, b = if_not_exists(b, :z) + :one, c = list_append(c, :l) \
                      REMOVE d, e[1] ADD f :one DELETE g :set";
        let update = expressions.update(update).unwrap();
        assert_eq!(update.tree.paths().count(), 7);
        assert_eq!(update.values.len(), 5);
        for text in [
            "SET",
            "SET a",
            "SET a = :a SET b = :b",
            "a = :a",
            "ADD a b",
            "REMOVE :a",
            "SET a = list_append(list_append(a, :a), :b)",
        ] {
            assert!(expressions.update(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_expression_that_is_too_long_is_refused() {
        let text = vec!["a = :a"; 700].join(" OR ");
        assert!(condition(&text).unwrap_err().contains("maximum allowed size"));
        let text = vec!["a=:a"; 400].join(" OR ");
        assert!(condition(&text).unwrap_err().contains("too many operators"));
    }
}
