//! Tokens.

use super::Wrong;
use super::literal::unescape;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Int(String),
    Uint(String),
    Float(String),
    String(String),
    Bytes(Vec<u8>),
    Ident(String),
    /// A field's name in backquotes.
    Quoted(String),
    /// Operators, brackets, and the words `in`, `true`, `false`, `null`.
    Symbol(&'static str),
    End,
}

/// A token with its place and text.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub(crate) at: u32,
    pub(crate) token: Token,
    pub(crate) text: String,
}

/// Longer ones first.
const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
    "<", ">",
];
const WORDS: &[&str] = &["in", "true", "false", "null"];

struct Lexer<'s> {
    chars: &'s [char],
    at: usize,
}

/// All tokens, the last of which is [`Token::End`], and what is none: that is left out.
pub(crate) fn tokens(chars: &[char]) -> (Vec<Lexeme>, Vec<Wrong>) {
    let mut lexer = Lexer { chars, at: 0 };
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = match lexer.next() {
            Ok(token) => token,
            Err(found) => {
                wrong.push(found);
                // Whatever it was, it is behind.
                lexer.at = lexer.at.max(at + 1);
                continue;
            }
        };
        let end = token == Token::End;
        let text = if end { "<EOF>".to_string() } else { chars[at..lexer.at].iter().collect() };
        all.push(Lexeme { at: at as u32, token, text });
        if end {
            return (all, wrong);
        }
    }
}

fn unrecognised(at: usize, text: &[char]) -> Wrong {
    let escaped = |c: &char| match c {
        '\n' => "\\n".to_string(),
        '\r' => "\\r".to_string(),
        '\t' => "\\t".to_string(),
        c => c.to_string(),
    };
    let text: String = text.iter().map(escaped).collect();
    (at as u32, format!("Syntax error: token recognition error at: '{text}'"))
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&fits) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some('\t' | ' ' | '\r' | '\n' | '\u{c}') => self.at += 1,
                Some('/') if self.peek(1) == Some('/') => {
                    self.take_while(|c| c != '\n');
                }
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Result<Token, Wrong> {
        let Some(first) = self.peek(0) else { return Ok(Token::End) };
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return Ok(self.number());
        }
        if let Some(token) = self.string()? {
            return Ok(token);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            let reserved = WORDS.iter().find(|w| **w == word);
            return Ok(reserved.map_or(Token::Ident(word), |w| Token::Symbol(w)));
        }
        if first == '`' {
            return self.quoted();
        }
        let Some(symbol) = SYMBOLS.iter().find(|s| self.starts_with(s)) else {
            // Half an operator goes with what stands where its other half should.
            let length = if "=&|".contains(first) { 2 } else { 1 };
            let end = (self.at + length).min(self.chars.len());
            let wrong = unrecognised(self.at, &self.chars[self.at..end]);
            self.at = end;
            return Err(wrong);
        };
        self.at += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    fn number(&mut self) -> Token {
        if self.starts_with("0x") && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit()) {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let text = format!("0x{digits}");
            return if self.unsigned() { Token::Uint(text) } else { Token::Int(text) };
        }
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.peek(0) == Some('.') && digit(self.peek(1)) {
            self.at += 1;
            float = true;
            text = format!("{text}.{}", self.take_while(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if digit(self.peek(1 + signed)) {
                float = true;
                let start = self.at;
                self.at += 1 + signed;
                self.take_while(|c| c.is_ascii_digit());
                text.extend(&self.chars[start..self.at]);
            }
        }
        match float {
            true => Token::Float(text),
            false if self.unsigned() => Token::Uint(text),
            false => Token::Int(text),
        }
    }

    fn unsigned(&mut self) -> bool {
        let found = matches!(self.peek(0), Some('u' | 'U'));
        self.at += usize::from(found);
        found
    }

    /// A string or bytes, if one begins here.
    fn string(&mut self) -> Result<Option<Token>, Wrong> {
        let (mut bytes, mut raw, mut prefix) = (false, false, 0);
        if matches!(self.peek(0), Some('b' | 'B')) {
            (bytes, prefix) = (true, 1);
        }
        if matches!(self.peek(prefix), Some('r' | 'R')) {
            (raw, prefix) = (true, prefix + 1);
        }
        let Some(quote @ ('"' | '\'')) = self.peek(prefix) else { return Ok(None) };
        let start = self.at;
        let triple = self.peek(prefix + 1) == Some(quote) && self.peek(prefix + 2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += prefix + width;
        let from = self.at;
        loop {
            let Some(c) = self.peek(0) else { return Err(unrecognised(start, &self.chars[start..])) };
            if (0..width).all(|i| self.peek(i) == Some(quote)) {
                break;
            }
            if !triple && (c == '\n' || c == '\r') {
                return Err(unrecognised(start, &self.chars[start..self.at]));
            }
            self.at += if c == '\\' && !raw { 2 } else { 1 };
        }
        let body: String = self.chars[from..self.at].iter().collect();
        self.at += width;
        let body = body.replace("\r\n", "\n").replace('\r', "\n");
        let wrong = |message: &str| (start as u32, message.to_string());
        if bytes {
            let data = if raw { body.into_bytes() } else { unescape(&body, true).map_err(wrong)? };
            return Ok(Some(Token::Bytes(data)));
        }
        let text = if raw { body } else { literal_text(unescape(&body, false).map_err(wrong)?).map_err(wrong)? };
        Ok(Some(Token::String(text)))
    }

    fn quoted(&mut self) -> Result<Token, Wrong> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
        if name.is_empty() || self.peek(0) != Some('`') {
            return Err(unrecognised(start, &self.chars[start..self.at]));
        }
        self.at += 1;
        Ok(Token::Quoted(name))
    }
}

fn literal_text(bytes: Vec<u8>) -> Result<String, &'static str> {
    String::from_utf8(bytes).map_err(|_| "unable to unescape string")
}
