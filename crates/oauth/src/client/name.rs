//! Names that strangers give themselves: cleaned of what could deceive a reader, and bounded.

use wire::is_deceptive;

/// The longest name that is kept, in characters.
const LONGEST: usize = 80;

/// A name fit for a page, a log line and a list: nothing that hides itself, white space collapsed, at most 80 characters; `fallback` if nothing is left.
pub(crate) fn clean(text: &str, fallback: &str) -> String {
    let visible = text.chars().filter_map(|c| match c {
        c if c.is_whitespace() => Some(' '),
        c if is_deceptive(c) => None,
        c => Some(c),
    });
    // Ten times the bound is enough to find 80 visible characters in anything honest.
    let visible: String = visible.take(LONGEST * 10).collect();
    let mut name = String::new();
    for word in visible.split_whitespace() {
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(word);
    }
    let name: String = name.chars().take(LONGEST).collect();
    let name = name.trim_end();
    if name.is_empty() {
        fallback.to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn dc3_names_lose_what_deceives_and_are_bounded() {
        for (given, kept) in [
            ("Claude Code", "Claude Code"),
            ("  two \n\t words ", "two words"),
            ("abc\u{202e}dcp.exe", "abcdcp.exe"),
            ("Cla\u{200b}u\u{feff}de", "Claude"),
            ("a\0b\u{7}c\u{1b}[31m", "abc[31m"),
            ("<b>Agent</b>", "<b>Agent</b>"),
            ("\u{e0041}\u{e0042}tag", "tag"),
            (
                "Clau\u{fe0f}de\u{e0101} \u{2800}\u{fff1}Code\u{3164}",
                "Claude Code",
            ),
            ("Ünïcødé 日本", "Ünïcødé 日本"),
            ("\u{200b}\u{200b}", "fallback"),
            ("", "fallback"),
            ("   ", "fallback"),
        ] {
            assert_eq!(clean(given, "fallback"), kept, "{given:?}");
        }
        assert_eq!(clean(&"x".repeat(10_000), "f").chars().count(), 80);
        assert_eq!(clean(&"ü".repeat(10_000), "f").chars().count(), 80);
        assert_eq!(clean(&format!("{} b", "a".repeat(79)), "f"), "a".repeat(79));
    }
}
