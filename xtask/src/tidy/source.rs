//! Rust source with everything that is not code blanked out, so that a plain scan finds only code.
//!
//! Comments, strings and characters become spaces; every newline stays where it was, so line numbers hold.

/// A place where code, a comment or a literal goes on.
enum Kind {
    Code,
    LineComment,
    /// Nested so deep.
    BlockComment(u32),
    Text,
    /// Closed by a quote and so many `#`.
    RawText(usize),
}

/// `text` with comments and literals blanked.
pub(super) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut kind = Kind::Code;
    let mut at = 0;
    while at < chars.len() {
        let (next, length, keep) = step(&kind, &chars, at);
        for &c in &chars[at..(at + length).min(chars.len())] {
            out.push(if keep || c == '\n' { c } else { ' ' });
        }
        kind = next.unwrap_or(kind);
        at += length;
    }
    out
}

/// From here: the kind after it where it changes, how many characters it takes, and whether they are code.
fn step(kind: &Kind, chars: &[char], at: usize) -> (Option<Kind>, usize, bool) {
    let pair = (chars[at], chars.get(at + 1).copied());
    match kind {
        Kind::Code => in_code(chars, at),
        Kind::LineComment => ((pair.0 == '\n').then_some(Kind::Code), 1, false),
        Kind::BlockComment(depth) => match pair {
            ('/', Some('*')) => (Some(Kind::BlockComment(depth + 1)), 2, false),
            ('*', Some('/')) if *depth == 1 => (Some(Kind::Code), 2, false),
            ('*', Some('/')) => (Some(Kind::BlockComment(depth - 1)), 2, false),
            _ => (None, 1, false),
        },
        Kind::Text => match pair.0 {
            '\\' => (None, 2, false),
            '"' => (Some(Kind::Code), 1, false),
            _ => (None, 1, false),
        },
        Kind::RawText(hashes) => {
            let closed = pair.0 == '"' && hashes_at(chars, at + 1) >= *hashes;
            if closed { (Some(Kind::Code), 1 + hashes, false) } else { (None, 1, false) }
        }
    }
}

fn in_code(chars: &[char], at: usize) -> (Option<Kind>, usize, bool) {
    match (chars[at], chars.get(at + 1).copied()) {
        ('/', Some('/')) => (Some(Kind::LineComment), 2, false),
        ('/', Some('*')) => (Some(Kind::BlockComment(1)), 2, false),
        ('"', _) => (Some(Kind::Text), 1, false),
        ('r', _) if begins_raw_text(chars, at) => {
            let hashes = hashes_at(chars, at + 1);
            (Some(Kind::RawText(hashes)), hashes + 2, false)
        }
        ('\'', Some('\\')) => {
            // `'\''`: the character after the backslash never closes the literal.
            let close = chars[at + 3..].iter().position(|c| *c == '\'').map_or(3, |more| more + 4);
            (None, close, false)
        }
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => (None, 3, false),
        _ => (None, 1, true),
    }
}

fn begins_raw_text(chars: &[char], at: usize) -> bool {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let prefix = at.checked_sub(1).map(|before| chars[before]);
    let starts = match prefix {
        Some('b' | 'c') => at < 2 || !word(&chars[at - 2]),
        Some(c) => !word(&c),
        None => true,
    };
    starts && chars.get(at + 1 + hashes_at(chars, at + 1)) == Some(&'"')
}

fn hashes_at(chars: &[char], at: usize) -> usize {
    chars.get(at..).unwrap_or_default().iter().take_while(|c| **c == '#').count()
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Of the word `fn`, from 1.
    pub(super) line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub(super) lines: usize,
}

/// Every function with a body in blanked code, the ones inside others too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    code.match_indices("fn ")
        .filter(|(at, _)| *at == 0 || !is_word(bytes[at - 1]))
        .filter_map(|(at, _)| {
            let name: String = code[at + 3..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let end = body_end(code, at)?;
            let line = 1 + code[..at].matches('\n').count();
            (!name.is_empty()).then(|| Function {
                name,
                line,
                lines: 1 + code[at..end].matches('\n').count(),
            })
        })
        .collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the body that begins after `at` ends; `None` where there is no body (`fn x();`).
fn body_end(code: &str, at: usize) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 && curly == 0 => return None,
            b'{' => curly += 1,
            b'}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return Some(offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text = concat!(
            "let a = \"fn x() { // }\"; // fn y() {\n",
            "/* fn z() { /* nested */ } */ let b = '{'; let c = '\\''; let d: &'a str = r#\"fn \"w\" {\"#;\n",
            "let e = br\"{\"; let f = b'\\\\'; let g = '\\u{7b}'; r#fn();\n"
        );
        let code = code_only(text);
        assert_eq!(code.matches('\n').count(), 3);
        assert!(
            !code.contains("fn x")
                && !code.contains("fn y")
                && !code.contains("fn z")
                && !code.contains("fn \"")
        );
        assert!(!code.contains('{') && !code.contains('}'), "{code}");
        assert!(code.contains("&'a str") && code.contains("r#fn();"));
    }

    #[test]
    fn functions_are_measured_from_name_to_brace() {
        let code = "trait T {\n fn none(&self) -> [u8; 2];\n fn two(&self) {\n }\n}\nfn outer(f: fn(u8)) {\n    fn inner() {\n    }\n}\n";
        let found = functions(code);
        let seen: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(seen, [("two", 3, 2), ("outer", 6, 4), ("inner", 7, 2)]);
    }
}
