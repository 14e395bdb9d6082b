//! Token hashing: only hashes of tokens are stored.

use ring::digest;
use storage::sessions::TokenHash;

/// The SHA-256 hash under which a token is stored.
pub(crate) fn hash(token: &str) -> TokenHash {
    sha256(&[token.as_bytes()])
}

/// The SHA-256 hash of the parts, each prefixed with its length so that different lists differ.
pub(crate) fn sha256_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let lengths: Vec<[u8; 8]> = parts
        .iter()
        .map(|part| (part.len() as u64).to_be_bytes())
        .collect();
    let pieces: Vec<&[u8]> = lengths
        .iter()
        .zip(parts)
        .flat_map(|(length, part)| [length.as_slice(), part])
        .collect();
    sha256(&pieces)
}

fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in pieces {
        context.update(piece);
    }
    let mut hash = [0; 32];
    // SHA-256 has 32 bytes.
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
