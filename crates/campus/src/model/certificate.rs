//! Certificates: that somebody completed a course, for whoever is shown the code.

use super::Timestamp;

#[derive(Debug, Clone)]
pub struct Certificate {
    pub id: i64,
    pub code: CertificateCode,
    pub course_id: i64,
    pub course_title: String,
    pub instructor_id: i64,
    pub student_id: i64,
    pub student_name: String,
    pub issued_at: Timestamp,
}

/// 160 random bits in base32: letters and digits that survive being typed off paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateCode(String);

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LENGTH: usize = 32;

impl CertificateCode {
    /// From bytes that nobody can guess.
    pub fn new(random: [u8; 20]) -> Self {
        // Five bytes are eight characters, so nothing is left over.
        let characters = random.chunks_exact(5).flat_map(|five| {
            let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).rev().map(move |nth| ALPHABET[(bits >> (5 * nth) & 31) as usize] as char)
        });
        Self(characters.collect())
    }

    /// A code as a person wrote it, in any case; `None` if no certificate can have it.
    pub fn parse(text: &str) -> Option<Self> {
        let code = text.to_ascii_uppercase();
        let is_code = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
        is_code.then_some(Self(code))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::CertificateCode;

    #[test]
    fn a_code_holds_every_bit_and_is_read_in_any_case() {
        let code = CertificateCode::new([0xff; 20]);
        assert_eq!(code.as_str(), "7".repeat(32));
        let mut bytes = [0; 20];
        bytes[19] = 1;
        let code = CertificateCode::new(bytes);
        assert_eq!(code.as_str(), format!("{}B", "A".repeat(31)));
        assert_eq!(CertificateCode::parse(&code.as_str().to_lowercase()), Some(code));
    }

    #[test]
    fn what_cannot_be_a_code_is_not_looked_up() {
        for text in ["", "424242", &"0".repeat(32), &"A".repeat(33), "\0"] {
            assert_eq!(CertificateCode::parse(text), None, "{text:?}");
        }
    }
}
