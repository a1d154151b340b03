//! Amounts of resources: CPU in thousandths, everything else in whole units.

use holdfast_core::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

/// A resource list as the API writes it.
pub type ResourceList = BTreeMap<String, Quantity>;

impl From<&ResourceList> for Resources {
    fn from(list: &ResourceList) -> Resources {
        let amount = |name: &str, quantity: Quantity| match name {
            "cpu" => quantity.milli(),
            _ => quantity.units(),
        };
        Resources(list.iter().map(|(name, quantity)| (name.clone(), amount(name, *quantity))).collect())
    }
}

impl Resources {
    /// The amount of one resource; zero when unset.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Sets one amount.
    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.into(), amount);
    }

    /// Whether an amount is set.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names and amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let sum = self.get(name).saturating_add(*amount);
            self.0.insert(name.clone(), sum);
        }
    }

    /// Takes all of `other` away.
    pub fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let rest = self.get(name).saturating_sub(*amount);
            self.0.insert(name.clone(), rest);
        }
    }

    /// Raises each amount to that of `other`.
    pub fn raise_to(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let most = self.get(name).max(*amount);
            self.0.insert(name.clone(), most);
        }
    }
}
