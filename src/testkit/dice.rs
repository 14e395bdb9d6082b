//! Pseudo-random numbers, the same in each run.

/// A sequence of pseudo-random numbers, given by its seed.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    /// One of the things.
    pub fn pick<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        let index = self.roll(things.len());
        things.get(index).expect("it is less than their number")
    }
}
