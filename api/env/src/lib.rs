//! The world as a parameter: clocks, randomness, disk, network and tasks behind one trait.
