//! Text as searches compare it, and its words.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// The accents of European scripts. Combining characters of others are part of their letters.
const ACCENTS: std::ops::RangeInclusive<char> = '\u{300}'..='\u{36f}';

/// The text in lower case, without accents and without variants of the same character.
pub(crate) fn fold(text: &str) -> String {
    let plain = text.nfkd().filter(|character| !ACCENTS.contains(character));
    let mut folded = String::with_capacity(text.len());
    for character in plain.nfc().flat_map(char::to_lowercase) {
        match base_letters(character) {
            Some(letters) => folded.push_str(letters),
            // Only lower-casing may have brought an accent back.
            None if ACCENTS.contains(&character) => {}
            None => folded.push(character),
        }
    }
    folded
}

/// The text in lower case and in one form of each character, with its accents.
pub(crate) fn lower(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

/// What letters are written as where they cannot be typed.
fn base_letters(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ı' => "i",
        'ħ' => "h",
        _ => return None,
    })
}

/// The words of a text: letters and digits with their combining characters.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_separator = |character: char| !is_word_character(character);
    text.split(is_separator).filter(|word| !word.is_empty())
}

/// Whether a character is part of words.
pub(crate) fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || is_combining_mark(character)
}

/// Whether a character is of a script that is written without spaces between words: Chinese, Japanese,
/// Thai, Lao, Burmese, Khmer.
pub(crate) fn is_unspaced(character: char) -> bool {
    matches!(
        character,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3005}'..='\u{3007}'
            | '\u{3041}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    ) && is_word_character(character)
}

/// The text up to so many characters.
pub(crate) fn shortened(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{fold, is_unspaced, shortened, words};

    #[test]
    fn case_and_accents_and_width_make_no_difference() {
        for (text, folded) in [
            ("Émilie Dûpré", "emilie dupre"),
            ("STRASSE Straße", "strasse strasse"),
            ("Łukasz Ørsted Æsir", "lukasz orsted aesir"),
            ("İstanbul ısı", "istanbul isi"),
            ("Ｆｕｌｌ", "full"),
            ("Σίσυφος", "σισυφος"),
            // These combining characters are part of the letters.
            ("が", "が"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn words_are_letters_and_digits_with_combining_characters() {
        let found: Vec<_> = words("<b>don't</b> 'x':* & हिन्दी\0\\4.2").collect();
        assert_eq!(found, ["b", "don", "t", "b", "x", "हिन्दी", "4", "2"]);
        assert_eq!(words(" \0!'").count(), 0);
    }

    #[test]
    fn scripts_without_spaces_are_known() {
        assert!("日本語ひらがなカタカナไทย".chars().all(is_unspaced));
        assert!(!"latin кириллица 한국어 ・".chars().any(is_unspaced));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("", 0), "");
    }
}
