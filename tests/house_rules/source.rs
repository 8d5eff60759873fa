//! Reads Rust source just well enough to know which module a path is named in.

/// A piece of source that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

/// A path that some source names, with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// From the crate root or an external crate on: `crate::proto::wire` or `bytes::Bytes`.
    pub(crate) path: Vec<String>,
    /// Whether it stands in code that is only compiled for tests.
    pub(crate) in_tests: bool,
}

/// What is known of a source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) mentions: Vec<Mention>,
    /// Modules declared in the file that are only compiled for tests: `crate::proto::wire::tests`.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// Reads the file of `module`, whose path begins with `crate`.
pub(crate) fn read(text: &str, module: &[&str]) -> Source {
    let mut reader = Reader {
        tokens: tokenize(text),
        at: 0,
        module: module.iter().map(|name| name.to_string()).collect(),
        inline: Vec::new(),
        depth: 0,
        source: Source::default(),
    };
    reader.read_all();
    reader.source
}

fn tokenize(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let rest_is = |at: usize, what: &str| {
        what.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if rest_is(at, "//") {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if rest_is(at, "/*") {
            let mut depth = 0;
            loop {
                if rest_is(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if rest_is(at, "*/") {
                    depth -= 1;
                    at += 2;
                } else {
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_string_end(&chars, at) {
            at = end;
        } else if c == '"' {
            at += 1;
            while let Some(&c) = chars.get(at) {
                at += if c == '\\' { 2 } else { 1 };
                if c == '"' {
                    break;
                }
            }
        } else if c == '\'' {
            // A character, or a lifetime: the latter is a word, which does no harm.
            at += match (chars.get(at + 1), chars.get(at + 2)) {
                (Some('\\'), _) => {
                    let close = chars.iter().skip(at + 3).position(|c| *c == '\'');
                    close.map_or(chars.len(), |close| close + 4)
                }
                (Some(_), Some('\'')) => 3,
                _ => 1,
            };
        } else if rest_is(at, "::") {
            tokens.push(Token::Path);
            at += 2;
        } else if c.is_alphanumeric() || c == '_' {
            let word: String = chars[at..]
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .collect();
            at += word.chars().count();
            tokens.push(Token::Word(word));
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Sign(c));
            }
            at += 1;
        }
    }
    tokens
}

/// Where the raw string that begins here ends, if one does.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let mut open = at;
    if chars.get(open) == Some(&'b') {
        open += 1;
    }
    if inside_word || chars.get(open) != Some(&'r') {
        return None;
    }
    let hashes = chars[open + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(open + 1 + hashes) != Some(&'"') {
        return None;
    }
    let body = open + 2 + hashes;
    let closes =
        |end: usize| chars[end] == '"' && (1..=hashes).all(|i| chars.get(end + i) == Some(&'#'));
    (body..chars.len())
        .find(|end| closes(*end))
        .map(|end| end + 1 + hashes)
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    /// The module of the file.
    module: Vec<String>,
    /// The modules written out within it that are open here: name, depth of its braces, whether
    /// it is for tests only.
    inline: Vec<(String, usize, bool)>,
    depth: usize,
    source: Source,
}

impl Reader {
    fn read_all(&mut self) {
        let mut for_tests = false;
        while let Some(token) = self.tokens.get(self.at).cloned() {
            self.at += 1;
            match token {
                Token::Sign('#') if self.sign('[') => for_tests |= self.skip_attribute(),
                Token::Sign('{') => {
                    self.depth += 1;
                    for_tests = false;
                }
                Token::Sign('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    let depth = self.depth;
                    self.inline.retain(|(_, at, _)| *at < depth);
                }
                Token::Sign(';') => for_tests = false,
                Token::Sign(_) | Token::Path => {}
                Token::Word(word) => match word.as_str() {
                    "mod" => self.read_module(std::mem::take(&mut for_tests)),
                    "use" => self.read_use(std::mem::take(&mut for_tests)),
                    "pub" | "crate" | "in" if !self.path_follows() => {}
                    _ => self.read_path(word, for_tests),
                },
            }
        }
    }

    fn sign(&self, sign: char) -> bool {
        self.tokens.get(self.at) == Some(&Token::Sign(sign))
    }

    fn path_follows(&self) -> bool {
        self.tokens.get(self.at) == Some(&Token::Path)
    }

    /// Skips `[…]`; whether it says `cfg(test)` or `cfg(all(test, …))`.
    fn skip_attribute(&mut self) -> bool {
        let start = self.at;
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token {
                Token::Sign('[') => depth += 1,
                Token::Sign(']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        let words: Vec<&str> = self.tokens[start..self.at]
            .iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word.as_str()),
                _ => None,
            })
            .collect();
        matches!(words[..], ["cfg", "test", ..] | ["cfg", "all", "test", ..])
    }

    /// `mod name;` or `mod name {`.
    fn read_module(&mut self, for_tests: bool) {
        let Some(Token::Word(name)) = self.tokens.get(self.at).cloned() else {
            return;
        };
        self.at += 1;
        if for_tests {
            let mut path = self.here();
            path.push(name.clone());
            self.source.test_modules.push(path);
        }
        if self.sign('{') {
            self.at += 1;
            self.inline.push((name, self.depth, for_tests));
            self.depth += 1;
        }
    }

    fn read_use(&mut self, for_tests: bool) {
        let mut open: Vec<Vec<String>> = Vec::new();
        let mut path: Vec<String> = Vec::new();
        while let Some(token) = self.tokens.get(self.at).cloned() {
            self.at += 1;
            match token {
                Token::Word(word) if word == "as" => self.at += 1,
                Token::Word(word) => path.push(word),
                Token::Path => {}
                Token::Sign('{') => open.push(path.clone()),
                Token::Sign(sign @ (',' | '}' | ';')) => {
                    let base = open.last().cloned().unwrap_or_default();
                    if path.len() > base.len() {
                        self.mention(path, for_tests);
                    }
                    path = base;
                    match sign {
                        ';' => return,
                        '}' => {
                            open.pop();
                            // What stood before the braces has been said with what is in them.
                            path = open.last().cloned().unwrap_or_default();
                        }
                        _ => {}
                    }
                }
                Token::Sign(sign) => path.push(sign.to_string()),
            }
        }
    }

    /// A path in code: `word`, and what follows it.
    fn read_path(&mut self, word: String, for_tests: bool) {
        let follows_path = self.at >= 2 && self.tokens[self.at - 2] == Token::Path;
        let mut path = vec![word];
        while self.path_follows() {
            let Some(Token::Word(word)) = self.tokens.get(self.at + 1).cloned() else {
                break;
            };
            path.push(word);
            self.at += 2;
        }
        if path.len() > 1 && !follows_path {
            self.mention(path, for_tests);
        }
    }

    fn here(&self) -> Vec<String> {
        let inline = self.inline.iter().map(|(name, _, _)| name.clone());
        self.module.iter().cloned().chain(inline).collect()
    }

    /// Notes a path, with `self` and `super` worked out.
    fn mention(&mut self, path: Vec<String>, for_tests: bool) {
        let mut base = Vec::new();
        for name in path {
            match name.as_str() {
                "self" if base.is_empty() => base = self.here(),
                "self" => {}
                "super" => {
                    if base.is_empty() {
                        base = self.here();
                    }
                    base.pop();
                }
                _ => base.push(name),
            }
        }
        self.source.mentions.push(Mention {
            path: base,
            in_tests: for_tests || self.inline.iter().any(|(_, _, tests)| *tests),
        });
    }
}
