//! Values with a unit, as an operator writes them: sizes, durations, addresses, secrets.

mod byte_size;
pub(crate) mod duration;
mod listen_address;
pub(crate) mod secret;

pub use byte_size::ByteSize;
pub use listen_address::ListenAddress;

/// Splits `"50 MiB"` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}
