//! What of a text can be seen. There is one list of characters that hide themselves, by the properties that Unicode
//! gives them: whatever shows a text of somebody else, or decides by one, asks here.

use icu_properties::props::{
    BidiControl, BinaryProperty as _, DefaultIgnorableCodePoint, EnumeratedProperty as _, GeneralCategory,
    PrependedConcatenationMark,
};

/// Whether a character hides itself, turns the text around it, breaks a line, or is no character that everybody sees
/// alike. Text for display goes without them; where a text decides, it is refused.
///
/// By Unicode's character database: what is shown as nothing (`Default_Ignorable_Code_Point`), bidirectional and other
/// controls (`Bidi_Control`, `Cc`, `Cf` but for the few that are drawn), ends of lines and paragraphs (`Zl`, `Zp`), private
/// use (`Co`), the code points that are no characters, and those few that are drawn and are blank. White space is none of
/// them: what shows a name makes one blank of it, what decides compares it exactly.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let hides = match GeneralCategory::for_char(c) {
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::PrivateUse => true,
        GeneralCategory::Format => !PrependedConcatenationMark::for_char(c),
        _ => false,
    };
    hides
        || DefaultIgnorableCodePoint::for_char(c)
        || BidiControl::for_char(c)
        || is_no_character(c)
        || BLANK.contains(&c)
}

/// Drawn, and blank: the empty Braille pattern, the null note head, the Khitan filler.
const BLANK: [char; 3] = ['\u{2800}', '\u{1d159}', '\u{16fe4}'];

/// Unicode 17, section 23.7.
const fn is_no_character(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe
}

/// Whether a name is what it looks like: no blanks around it, nothing in it that cannot be seen.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.trim() == text && !text.chars().any(is_deceptive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_hides_is_found() {
        for bad in [
            "ad\u{200b}mins",
            " admins ",
            "admins\u{0}",
            "\u{202e}admins",
            "admins\u{a0}",
            "adm\u{ad}ins",
            "\u{e0061}admins",
            "admins\u{fe0f}",
            "adm\u{e0101}ins",
            "adm\u{fff0}ins",
            "\u{2800}admins",
            "admins\u{115f}",
            "adm\u{180e}ins",
            "admins\u{2067}",
            "adm\u{fffa}ins",
            "admins\u{1bca0}",
            "admins\u{e000}",
            "admins\u{ffff}",
            "\u{1d159}admins",
            "adm\u{13430}ins",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        for good in ["admins", "B\u{fc}ro \u{6771}\u{4eac}", "a/b c", ""] {
            assert!(is_plain(good), "{good:?}");
        }
    }

    #[test]
    fn all_that_unicode_says_is_not_shown_is_in_the_list() {
        // Default_Ignorable_Code_Point of DerivedCoreProperties.txt, Unicode 17.
        let ranges = [
            (0xad, 0xad),
            (0x34f, 0x34f),
            (0x61c, 0x61c),
            (0x115f, 0x1160),
            (0x17b4, 0x17b5),
            (0x180b, 0x180f),
            (0x200b, 0x200f),
            (0x202a, 0x202e),
            (0x2060, 0x206f),
            (0x3164, 0x3164),
            (0xfe00, 0xfe0f),
            (0xfeff, 0xfeff),
            (0xffa0, 0xffa0),
            (0xfff0, 0xfff8),
            (0x1bca0, 0x1bca3),
            (0x1d173, 0x1d17a),
            (0xe0000, 0xe0fff),
        ];
        for c in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            assert!(is_deceptive(char::from_u32(c).unwrap()), "U+{c:04X}");
        }
        // What is written in other scripts, and drawn, is not.
        for c in "\u{600}\u{6dd}\u{e9}\u{5d0}\u{939}\u{94d}\u{1f600}\u{3000}\u{a0}\u{fffd}".chars() {
            assert!(!is_deceptive(c), "U+{:04X}", u32::from(c));
        }
    }
}
