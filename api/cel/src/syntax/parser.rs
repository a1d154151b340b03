//! The parser: precedence climbing, one function a level of the grammar.

use super::Wrong;
use super::ast::{Element, Entry, Expr, FieldInit, Kind, Literal};
use super::lexer::{Lexeme, Token, tokens};
use crate::limits::{MAX_DEPTH, MAX_SOURCE};
use crate::names::RESERVED;

/// Parses the whole source.
///
/// # Errors
/// What is no token, and the first place where no expression can go on. A token too many is left out, as ANTLR does.
pub(crate) fn parse(source: &str) -> Result<Expr, Vec<Wrong>> {
    let chars: Vec<char> = source.chars().collect();
    if chars.len() > MAX_SOURCE {
        let message = format!("expression code point size exceeds limit: size: {}, limit {MAX_SOURCE}", chars.len());
        return Err(vec![(0, message)]);
    }
    let (tokens, wrong) = tokens(&chars);
    let mut parser = Parser { tokens, next: 0, depth: 0, wrong };
    let outcome = parser.whole();
    match outcome {
        Ok(expr) if parser.wrong.is_empty() => Ok(expr),
        Ok(_) => Err(parser.wrong),
        Err(found) => {
            parser.wrong.push(found);
            Err(parser.wrong)
        }
    }
}

/// What ANTLR lists where an expression should begin.
const EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                          BYTES, IDENTIFIER}";
const RELATIONS: &[&str] = &["<", "<=", ">=", ">", "==", "!=", "in"];

struct Parser {
    tokens: Vec<Lexeme>,
    next: usize,
    /// Nesting of [`Parser::expr`].
    depth: usize,
    /// What was wrong and did not keep the parser from going on.
    wrong: Vec<Wrong>,
}

/// Whether an expression can begin with it.
fn begins_expression(token: &Token) -> bool {
    match token {
        Token::Symbol(symbol) => ["[", "{", "(", ".", "-", "!", "true", "false", "null"].contains(symbol),
        Token::Quoted(_) | Token::End => false,
        _ => true,
    }
}

/// A tree and how deep it is: chains of operators nest to the left without recursion here.
type Deep = (Expr, usize);

impl Parser {
    fn whole(&mut self) -> Result<Expr, Wrong> {
        let (expr, _) = self.expr()?;
        if *self.peek() == Token::End {
            return Ok(expr);
        }
        self.surplus("<EOF>", |next| *next == Token::End)?;
        Ok(expr)
    }

    fn peek(&self) -> &Token {
        &self.lexeme().token
    }

    fn lexeme(&self) -> &Lexeme {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn at(&self) -> u32 {
        self.lexeme().at
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.next += usize::from(found);
        found
    }

    fn mismatched(&self, expected: &str) -> Wrong {
        let lexeme = self.lexeme();
        (lexeme.at, format!("Syntax error: mismatched input '{}' expecting {expected}", lexeme.text))
    }

    /// Leaves one token out if what is expected stands behind it, or fails.
    fn surplus(&mut self, expected: &str, fits: impl Fn(&Token) -> bool) -> Result<(), Wrong> {
        let (at, mismatched) = self.mismatched(expected);
        match self.tokens.get(self.next + 1) {
            Some(next) if fits(&next.token) => {
                self.wrong.push((at, mismatched.replacen("mismatched", "extraneous", 1)));
                self.next += 1;
                Ok(())
            }
            _ => Err((at, mismatched)),
        }
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Wrong> {
        if !self.is(symbol) {
            self.surplus(&format!("'{symbol}'"), |next| *next == Token::Symbol(symbol))?;
        }
        self.next += 1;
        Ok(())
    }

    fn bounded(&self, depth: usize) -> Result<usize, Wrong> {
        if depth > MAX_DEPTH {
            return Err((self.at(), format!("expression recursion limit exceeded: {MAX_DEPTH}")));
        }
        Ok(depth)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.depth = self.bounded(self.depth + 1)?;
        let out = parse(self);
        self.depth -= 1;
        out
    }

    /// `conditionalOr ('?' conditionalOr ':' expr)?`
    fn expr(&mut self) -> Result<Deep, Wrong> {
        self.nested(|p| {
            let (condition, deep) = p.logic("||", "_||_")?;
            let at = p.at();
            if !p.take("?") {
                return Ok((condition, deep));
            }
            let (yes, deep_yes) = p.logic("||", "_||_")?;
            p.expect(":")?;
            let (no, deep_no) = p.expr()?;
            let depth = p.bounded(1 + deep.max(deep_yes).max(deep_no))?;
            Ok((Expr::call(at, "_?_:_", vec![condition, yes, no]), depth))
        })
    }

    /// `||` and `&&`: all terms of a chain become arguments of one call.
    fn logic(&mut self, symbol: &'static str, function: &str) -> Result<Deep, Wrong> {
        let below = |p: &mut Self| if symbol == "||" { p.logic("&&", "_&&_") } else { p.relation() };
        let (first, mut deep) = below(self)?;
        if !self.is(symbol) {
            return Ok((first, deep));
        }
        let (at, mut terms) = (self.at(), vec![first]);
        while self.take(symbol) {
            let (term, depth) = below(self)?;
            deep = deep.max(depth);
            terms.push(term);
        }
        Ok((Expr::call(at, function, terms), self.bounded(deep + 1)?))
    }

    fn binary(
        &mut self,
        symbols: &[&'static str],
        below: impl Fn(&mut Self) -> Result<Deep, Wrong>,
    ) -> Result<Deep, Wrong> {
        let (mut left, mut deep) = below(self)?;
        while let Some(symbol) = symbols.iter().find(|s| self.is(s)) {
            let at = self.at();
            self.next += 1;
            let (right, depth) = below(self)?;
            deep = self.bounded(1 + deep.max(depth))?;
            let function = if *symbol == "in" { "@in".to_string() } else { format!("_{symbol}_") };
            left = Expr::call(at, &function, vec![left, right]);
        }
        Ok((left, deep))
    }

    fn relation(&mut self) -> Result<Deep, Wrong> {
        self.binary(RELATIONS, |p| p.binary(&["+", "-"], |p| p.binary(&["*", "/", "%"], Self::unary)))
    }

    fn unary(&mut self) -> Result<Deep, Wrong> {
        let at = self.at();
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(symbol) || (symbol == "-" && self.number_follows()) {
                continue;
            }
            let mut count = 0;
            while self.is(symbol) && !(symbol == "-" && self.number_follows()) {
                self.next += 1;
                count += 1;
            }
            let (operand, deep) = self.member()?;
            if count % 2 == 0 {
                return Ok((operand, deep));
            }
            return Ok((Expr::call(at, function, vec![operand]), self.bounded(deep + 1)?));
        }
        self.member()
    }

    /// Whether a minus stands here that belongs to a literal.
    fn number_follows(&self) -> bool {
        let next = self.tokens.get(self.next + 1).map(|l| &l.token);
        self.is("-") && matches!(next, Some(Token::Int(_) | Token::Float(_)))
    }

    fn member(&mut self) -> Result<Deep, Wrong> {
        let (mut expr, mut deep) = self.primary()?;
        loop {
            let at = self.at();
            if self.take(".") {
                let optional = self.take("?");
                let field_at = self.at();
                let (field, quoted) = self.field()?;
                if !optional && !quoted && self.is("(") {
                    let at = self.at();
                    let (args, depth) = self.arguments()?;
                    expr = Expr::new(at, Kind::Call { target: Some(Box::new(expr)), function: field, args });
                    deep = deep.max(depth);
                } else {
                    let at = if optional { field_at.min(at) } else { at };
                    expr = Expr::new(at, Kind::Select { operand: Box::new(expr), field, optional, test: false });
                }
            } else if self.take("[") {
                let function = if self.take("?") { "_[?_]" } else { "_[_]" };
                let (index, depth) = self.expr()?;
                self.expect("]")?;
                expr = Expr::call(at, function, vec![expr, index]);
                deep = deep.max(depth);
            } else {
                return Ok((expr, deep));
            }
            deep = self.bounded(deep + 1)?;
        }
    }

    /// A field's name, and whether it was in backquotes.
    fn field(&mut self) -> Result<(String, bool), Wrong> {
        let found = match self.peek() {
            Token::Ident(name) => (name.clone(), false),
            Token::Quoted(name) => (name.clone(), true),
            _ => return Err(self.mismatched("{IDENTIFIER, ESC_IDENTIFIER}")),
        };
        self.next += 1;
        Ok(found)
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), Wrong> {
        self.expect("(")?;
        let (mut args, mut deep) = (Vec::new(), 0);
        if self.take(")") {
            return Ok((args, deep));
        }
        loop {
            let (arg, depth) = self.expr()?;
            args.push(arg);
            deep = deep.max(depth);
            if !self.take(",") {
                self.expect(")")?;
                return Ok((args, deep));
            }
        }
    }

    fn primary(&mut self) -> Result<Deep, Wrong> {
        if !begins_expression(self.peek()) {
            self.surplus(EXPRESSION, begins_expression)?;
        }
        let at = self.at();
        if self.take("(") {
            let inner = self.expr()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return self.list(at);
        }
        if self.take("{") {
            return self.map(at);
        }
        if self.is(".") || matches!(self.peek(), Token::Ident(_)) {
            return self.name();
        }
        Ok((Expr::literal(at, self.literal()?), 1))
    }

    fn literal(&mut self) -> Result<Literal, Wrong> {
        let at = self.at();
        let sign = if self.number_follows() {
            self.next += 1;
            "-"
        } else {
            ""
        };
        let wrong = |what: &str| (at, format!("invalid {what} literal"));
        let radix = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => (format!("{sign}{digits}"), 16),
            None => (format!("{sign}{text}"), 10),
        };
        let literal = match self.peek() {
            Token::Symbol("true") => Literal::Bool(true),
            Token::Symbol("false") => Literal::Bool(false),
            Token::Symbol("null") => Literal::Null,
            Token::String(text) => Literal::String(text.clone()),
            Token::Bytes(bytes) => Literal::Bytes(bytes.clone()),
            Token::Int(text) => {
                let (digits, radix) = radix(text);
                Literal::Int(i64::from_str_radix(&digits, radix).map_err(|_| wrong("int"))?)
            }
            Token::Uint(text) => {
                let (digits, radix) = radix(text);
                Literal::Uint(u64::from_str_radix(&digits, radix).map_err(|_| wrong("uint"))?)
            }
            Token::Float(text) => match format!("{sign}{text}").parse::<f64>() {
                Ok(number) if number.is_finite() => Literal::Double(number),
                _ => return Err(wrong("double")),
            },
            _ => return Err(self.mismatched(EXPRESSION)),
        };
        self.next += 1;
        Ok(literal)
    }

    /// A variable, a call, or an object: all begin with a name.
    fn name(&mut self) -> Result<Deep, Wrong> {
        let start = self.at();
        let dot = if self.take(".") { "." } else { "" };
        let at = self.at();
        let Token::Ident(word) = self.peek() else { return Err(self.mismatched("IDENTIFIER")) };
        let word = word.clone();
        if let Some(name) = self.object_name() {
            return self.object(format!("{dot}{name}"));
        }
        self.next += 1;
        if RESERVED.contains(&word.as_str()) {
            return Err((start, format!("reserved identifier: {word}")));
        }
        let name = format!("{dot}{word}");
        if !self.is("(") {
            return Ok((Expr::new(at, Kind::Ident(name)), 1));
        }
        let at = self.at();
        let (args, deep) = self.arguments()?;
        Ok((Expr::call(at, &name, args), self.bounded(deep + 1)?))
    }

    /// The name of an object, if `a.b.C {` stands here; goes to the brace then.
    fn object_name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.next;
        loop {
            let Token::Ident(word) = &self.tokens.get(at)?.token else { return None };
            name.push_str(word);
            match self.tokens.get(at + 1)?.token {
                Token::Symbol(".") => name.push('.'),
                Token::Symbol("{") => {
                    self.next = at + 1;
                    return Some(name);
                }
                _ => return None,
            }
            at += 2;
        }
    }

    fn object(&mut self, name: String) -> Result<Deep, Wrong> {
        let at = self.at();
        self.expect("{")?;
        let (mut fields, mut deep) = (Vec::new(), 0);
        while !self.is("}") {
            let optional = self.take("?");
            let (field, _) = self.field()?;
            self.expect(":")?;
            let (value, depth) = self.expr()?;
            deep = deep.max(depth);
            fields.push(FieldInit { optional, name: field, value });
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        Ok((Expr::new(at, Kind::Struct { name, fields }), self.bounded(deep + 1)?))
    }

    fn list(&mut self, at: u32) -> Result<Deep, Wrong> {
        let (mut elements, mut deep) = (Vec::new(), 0);
        while !self.is("]") {
            // A lone comma is allowed, as the grammar has it.
            if elements.is_empty() && self.take(",") {
                break;
            }
            let optional = self.take("?");
            let (value, depth) = self.expr()?;
            deep = deep.max(depth);
            elements.push(Element { optional, value });
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok((Expr::new(at, Kind::List(elements)), self.bounded(deep + 1)?))
    }

    fn map(&mut self, at: u32) -> Result<Deep, Wrong> {
        let (mut entries, mut deep) = (Vec::new(), 0);
        while !self.is("}") {
            if entries.is_empty() && self.take(",") {
                break;
            }
            let optional = self.take("?");
            let (key, depth) = self.expr()?;
            self.expect(":")?;
            let (value, depth_value) = self.expr()?;
            deep = deep.max(depth).max(depth_value);
            entries.push(Entry { optional, key, value });
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        Ok((Expr::new(at, Kind::Map(entries)), self.bounded(deep + 1)?))
    }
}
