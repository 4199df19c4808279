//! A small lexer for Rust: enough to tell code from comments, literals and lifetimes.

/// What a token is; the rules care only about words and marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword, without a leading `r#`.
    Word,
    /// Punctuation: one character, or one of [`PAIRS`].
    Mark,
    /// A number, string or character. Its text is not kept.
    Value,
    /// A lifetime or label. Its text is not kept.
    Lifetime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Whether it belongs to code that only tests compile; the lexer leaves that to [`crate::source`].
    pub(crate) test: bool,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_word(&self) -> bool {
        self.kind == Kind::Word
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// With its slashes.
    pub(crate) text: String,
    /// The line it ends on.
    pub(crate) line: usize,
    /// The index of the token that follows it.
    pub(crate) next: usize,
}

impl Comment {
    /// Whether it documents the item that follows.
    pub(crate) fn documents_next(&self) -> bool {
        let line = self.text.starts_with("///") && !self.text.starts_with("////");
        line || (self.text.starts_with("/**") && !self.text.starts_with("/***") && self.text != "/**/")
    }

    /// Whether it is an ordinary `//` comment that says something.
    pub(crate) fn explains(&self) -> bool {
        self.text
            .strip_prefix("//")
            .is_some_and(|rest| !rest.starts_with(['/', '!']) && rest.contains(char::is_alphabetic))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
}

/// Marks that are kept whole, so that `::` is one step of a path and `print != x` no macro call.
const PAIRS: [[char; 2]; 4] = [[':', ':'], ['!', '='], ['-', '>'], ['=', '>']];

/// Splits Rust source. Never fails: source that rustc would refuse yields some tokens or other.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, out: Lexed::default() };
    while let Some(next) = lexer.peek(0) {
        lexer.step(next);
    }
    lexer.out
}

/// The token texts of a snippet: how the rules write down what they look for.
pub(crate) fn texts(snippet: &str) -> Vec<String> {
    lex(snippet).tokens.into_iter().map(|token| token.text).collect()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Lexed,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.out.tokens.push(Token { kind, text, line, test: false });
    }

    fn step(&mut self, next: char) {
        match (next, self.peek(1)) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (c, _) if c.is_whitespace() => {
                self.bump();
            }
            (c, _) if is_word(c) => self.word(),
            (c, second) => self.mark(c, second),
        }
    }

    fn line_comment(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.at += 1;
        }
        self.comment(start);
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let mut depth = 0;
        while let Some(c) = self.bump() {
            match (c, self.peek(0)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.bump();
            if depth == 0 {
                break;
            }
        }
        self.comment(start);
    }

    fn comment(&mut self, start: usize) {
        let text = self.chars[start..self.at].iter().collect();
        self.out.comments.push(Comment { text, line: self.line, next: self.out.tokens.len() });
    }

    /// A string, or a character that starts with a backslash: up to the same quote, not escaped.
    fn string(&mut self) {
        let line = self.line;
        let quote = self.bump();
        while let Some(c) = self.bump() {
            if c == '\\' {
                self.bump();
            } else if Some(c) == quote {
                break;
            }
        }
        self.push(Kind::Value, String::new(), line);
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.at += hashes + 1;
        while let Some(c) = self.bump() {
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
        }
        self.push(Kind::Value, String::new(), line);
    }

    /// A character (`'x'`, `'\n'`) or a lifetime (`'a`).
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') || self.peek(2) == Some('\'') {
            let line = self.line;
            if self.peek(1) == Some('\\') {
                return self.string();
            }
            for _ in 0..3 {
                self.bump();
            }
            return self.push(Kind::Value, String::new(), line);
        }
        self.at += 1;
        self.take_word();
        self.push(Kind::Lifetime, String::new(), self.line);
    }

    fn take_word(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(is_word) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// A word or number, or the literal that a prefix such as `r`, `b` or `br` announces.
    fn word(&mut self) {
        let text = self.take_word();
        let hashes = (0..).take_while(|&ahead| self.peek(ahead) == Some('#')).count();
        let (next, after) = (self.peek(0), self.peek(hashes));
        match text.as_str() {
            "r" | "br" | "cr" if after == Some('"') => self.raw_string(hashes),
            "b" | "c" if next == Some('"') => self.string(),
            "b" if next == Some('\'') => self.quote(),
            "r" if hashes == 1 && after.is_some_and(is_word) => {
                self.at += 1;
                let word = self.take_word();
                self.push(Kind::Word, word, self.line);
            }
            _ if text.starts_with(|c: char| c.is_ascii_digit()) => {
                self.push(Kind::Value, String::new(), self.line);
            }
            _ => self.push(Kind::Word, text, self.line),
        }
    }

    fn mark(&mut self, first: char, second: Option<char>) {
        let line = self.line;
        self.at += 1;
        let mut text = String::from(first);
        if let Some(second) = second.filter(|&second| PAIRS.contains(&[first, second])) {
            self.at += 1;
            text.push(second);
        }
        self.push(Kind::Mark, text, line);
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and marks, with `§` for a literal and `'` for a lifetime.
    fn shown(text: &str) -> String {
        let show = |token: Token| match token.kind {
            Kind::Word | Kind::Mark => token.text,
            Kind::Value => "§".into(),
            Kind::Lifetime => "'".into(),
        };
        lex(text).tokens.into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(shown("a // b \" c\nd"), "a d");
        assert_eq!(shown("a /* b /* c */ d */ e"), "a e");
        assert_eq!(shown("a /*/ b */ c"), "a c");
        assert_eq!(shown("a /**/ b"), "a b");
        assert_eq!(shown("a / b /* never closed"), "a / b");
    }

    #[test]
    fn strings_are_not_code() {
        assert_eq!(shown(r#"a "b \" // c" d"#), "a § d");
        assert_eq!(shown(r#"a "b \\" d"#), "a § d");
        assert_eq!(shown(r##"a r#"b " \"# d"##), "a § d");
        assert_eq!(shown("a r\"b \\\" d"), "a § d");
        assert_eq!(shown("f(b\"x\", br##\"y\"# z\"##, c\"w\", cr\"v\")"), "f ( § , § , § , § )");
    }

    #[test]
    fn characters_and_lifetimes_differ() {
        assert_eq!(
            shown("fn f<'a, 'b>(x: &'a str) -> char { '\"' }"),
            "fn f < ' , ' > ( x : & ' str ) -> char { § }"
        );
        assert_eq!(
            shown(r"['\'', '\\', '\u{1F600}', b'x', b'\'', '{', ' ', 'é']"),
            "[ § , § , § , § , § , § , § , § ]"
        );
        assert_eq!(shown("'outer: loop { break 'outer }"), "' : loop { break ' }");
        assert_eq!(shown("let x: &'static str = a; // '"), "let x : & ' str = a ;");
    }

    #[test]
    fn words_numbers_and_marks() {
        assert_eq!(shown("r#type::x(0x_ff, 1.5e3, 0..9, t.0)"), "type :: x ( § , § . § , § . . § , t . § )");
        assert_eq!(shown("print != 3; r # b"), "print != § ; r # b");
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let lexed = lex("a\n/* \n */ b \"\n\n\" c\nr#\"\n\"# d '\\\n' e // f\n g");
        let lines: Vec<_> = lexed
            .tokens
            .iter()
            .filter(|token| token.is_word())
            .map(|token| (token.text.as_str(), token.line))
            .collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("c", 5), ("d", 7), ("e", 8), ("g", 9)]);
        let comments: Vec<_> = lexed.comments.iter().map(|comment| (comment.line, comment.next)).collect();
        assert_eq!(comments, [(3, 1), (8, 8)]);
    }

    #[test]
    fn kinds_of_comments() {
        let explains = |text: &str| lex(text).comments[0].explains();
        assert!(explains("// checked above"));
        assert!(!explains("/// doc") && !explains("//! doc") && !explains("//") && !explains("// ----"));
        let documents = |text: &str| lex(text).comments[0].documents_next();
        assert!(documents("/// doc") && documents("/** doc */"));
        assert!(!documents("// x") && !documents("//// x") && !documents("/**/") && !documents("//! x"));
    }
}
