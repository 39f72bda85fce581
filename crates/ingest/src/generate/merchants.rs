//! The merchants of the payments example: reference data, and where the generated payments are made.

use std::collections::BTreeSet;

use model::clock::seeded;
use rand::Rng;

use super::sampling::Weighted;

/// Number of merchants, `m0001` to `m0500`.
pub const MERCHANTS: usize = 500;

/// The seed of the merchants in `examples/payments/reference/merchants.csv`. It is apart from the seed of the payments, so that another
/// run of payments is still made at the merchants of the reference table.
pub const MERCHANTS_SEED: u64 = 1;

/// A merchant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// `m0001` and on.
    pub id: String,
    /// What stands on the statement. Unique.
    pub name: String,
    /// One of [`CATEGORIES`]' names.
    pub category: &'static str,
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
}

/// What merchants of a kind sell for, and how it is paid.
#[derive(Debug, Clone, Copy)]
pub struct Category {
    /// Its name.
    pub name: &'static str,
    /// Its share of the merchants.
    pub(crate) merchants: f64,
    /// Its share of the payments.
    pub(crate) payments: f64,
    /// Median amount, in the currency's main unit.
    pub(crate) median: f64,
    /// Standard deviation of the amount's logarithm.
    pub(crate) spread: f64,
    /// Shares of chip, contactless, online, cash machine.
    pub(crate) channels: [f64; 4],
    /// What its shops are called.
    nouns: &'static [&'static str],
}

macro_rules! category {
    ($name:literal, $merchants:literal, $payments:literal, $median:literal, $spread:literal, $channels:expr, $nouns:expr) => {
        Category {
            name: $name,
            merchants: $merchants,
            payments: $payments,
            median: $median,
            spread: $spread,
            channels: $channels,
            nouns: &$nouns,
        }
    };
}

/// All categories. Groceries and restaurants are frequent and small, travel is rare and large.
#[rustfmt::skip]
pub const CATEGORIES: [Category; 12] = [
    category!("groceries", 18.0, 30.0, 27.0, 0.75, [0.30, 0.62, 0.08, 0.0], ["Market", "Grocers", "Foods", "Supermarket", "Pantry"]),
    category!("restaurants", 20.0, 17.0, 18.0, 0.70, [0.25, 0.70, 0.05, 0.0], ["Café", "Kitchen", "Bistro", "Pizzeria", "Grill"]),
    category!("transport", 5.0, 13.0, 4.2, 0.60, [0.05, 0.75, 0.20, 0.0], ["Metro", "Taxi", "Railways", "Buses"]),
    category!("fuel", 8.0, 8.0, 48.0, 0.45, [0.55, 0.45, 0.0, 0.0], ["Fuel", "Petrol", "Service Station"]),
    category!("fashion", 12.0, 7.0, 44.0, 0.80, [0.25, 0.30, 0.45, 0.0], ["Outfitters", "Shoes", "Tailors", "Boutique"]),
    category!("digital", 6.0, 8.0, 9.5, 0.65, [0.0, 0.0, 1.0, 0.0], ["Streaming", "Apps", "Cloud", "Games"]),
    category!("health", 8.0, 5.0, 21.0, 0.80, [0.45, 0.45, 0.10, 0.0], ["Pharmacy", "Dental", "Optics", "Clinic"]),
    category!("entertainment", 7.0, 4.0, 24.0, 0.75, [0.20, 0.35, 0.45, 0.0], ["Cinema", "Theatre", "Arena", "Museum"]),
    category!("electronics", 5.0, 3.0, 130.0, 1.00, [0.30, 0.10, 0.60, 0.0], ["Electronics", "Computers", "Hi-Fi"]),
    category!("utilities", 4.0, 2.0, 72.0, 0.55, [0.0, 0.0, 1.0, 0.0], ["Energy", "Water", "Telecom"]),
    category!("travel", 4.0, 1.5, 240.0, 0.95, [0.10, 0.05, 0.85, 0.0], ["Airways", "Hotel", "Tours", "Hostel"]),
    category!("cash", 3.0, 1.5, 80.0, 0.60, [0.0, 0.0, 0.0, 1.0], ["Bank", "Savings Bank"]),
];

/// A country of cardholders and merchants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Country {
    pub(crate) code: &'static str,
    /// Index into [`CURRENCIES`].
    pub(crate) currency: u8,
    /// Its share of accounts and merchants.
    pub(crate) share: f64,
    words: &'static [&'static str],
}

/// ISO 4217 codes of the amounts.
pub(crate) const CURRENCIES: [&str; 3] = ["EUR", "GBP", "USD"];

#[rustfmt::skip]
pub(crate) const COUNTRIES: [Country; 7] = [
    Country { code: "DE", currency: 0, share: 24.0, words: &["Linden", "Hansa", "Rhein", "Adler", "Grün", "Krone", "Spree", "Falken"] },
    Country { code: "GB", currency: 1, share: 20.0, words: &["Albion", "Thistle", "Crown", "Harbour", "Oak", "King's", "Avon", "Heather"] },
    Country { code: "US", currency: 2, share: 18.0, words: &["Liberty", "Prairie", "Bay", "Summit", "Cedar", "Lone Star", "Pioneer", "Maple"] },
    Country { code: "FR", currency: 0, share: 14.0, words: &["Lumière", "Étoile", "Loire", "Belle", "Mistral", "Azur", "Lavande", "Soleil"] },
    Country { code: "ES", currency: 0, share: 10.0, words: &["Sol", "Alameda", "Ebro", "Brisa", "Olivo", "Castilla", "Mañana", "Faro"] },
    Country { code: "IT", currency: 0, share: 8.0, words: &["Aurora", "Ponte", "Arno", "Bella", "Vesuvio", "Porta", "Stella", "Verde"] },
    Country { code: "NL", currency: 0, share: 6.0, words: &["Tulp", "Molen", "Gracht", "Oranje", "Duin", "Haven", "Polder", "Vecht"] },
];

const QUALIFIERS: [&str; 10] =
    ["", " & Sons", " Central", " Nord", " Express", " 24", " Plaza", " Old Town", " Direct", " One"];

/// The merchants of a seed, in the order of their ids. The lower the number, the more payments a merchant has in its category and country.
pub fn merchants(seed: u64) -> Vec<Merchant> {
    let mut random = seeded(seed);
    let categories = Weighted::new(&CATEGORIES.map(|category| category.merchants));
    let countries = Weighted::new(&COUNTRIES.map(|country| country.share));
    let mut names = BTreeSet::new();
    let mut merchants = Vec::with_capacity(MERCHANTS);
    for index in 0..MERCHANTS {
        // The first ones go round, so that every country has every category.
        let (country, category) = if index < COUNTRIES.len() * CATEGORIES.len() {
            (index % COUNTRIES.len(), index / COUNTRIES.len())
        } else {
            (countries.sample(&mut random), categories.sample(&mut random))
        };
        let (Some(country), Some(category)) = (COUNTRIES.get(country), CATEGORIES.get(category)) else { continue };
        let mut name = shop_name(country, category, &mut random);
        while !names.insert(name.clone()) {
            name = format!("{} {}", shop_name(country, category, &mut random), random.random_range(2..100));
        }
        merchants.push(Merchant {
            id: format!("m{:04}", index + 1),
            name,
            category: category.name,
            country: country.code,
        });
    }
    merchants
}

fn shop_name(country: &Country, category: &Category, random: &mut impl Rng) -> String {
    let mut pick = |words: &[&'static str]| {
        let index = random.random_range(0..words.len().max(1));
        words.get(index).copied().unwrap_or_default()
    };
    format!("{} {}{}", pick(country.words), pick(category.nouns), pick(&QUALIFIERS))
}

/// The merchants as the reference table's CSV file.
pub fn to_csv(merchants: &[Merchant]) -> String {
    let mut text = String::from("merchant_id,name,category,country\n");
    for Merchant { id, name, category, country } in merchants {
        // Names hold neither commas nor quotes.
        text.push_str(&format!("{id},{name},{category},{country}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example's reference table is the generator's. `TILLSTREAM_UPDATE=1` writes it.
    #[test]
    fn the_example_has_these_merchants() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/payments/reference/merchants.csv");
        let text = to_csv(&merchants(MERCHANTS_SEED));
        if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/payments/reference")).unwrap();
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run this test with TILLSTREAM_UPDATE=1");
    }

    #[test]
    fn merchants_are_distinct_and_cover_all_categories_in_all_countries() {
        let all = merchants(7);
        assert_eq!((all.len(), &*all[0].id, &*all[499].id), (500, "m0001", "m0500"));
        let names: BTreeSet<_> = all.iter().map(|merchant| &merchant.name).collect();
        let kinds: BTreeSet<_> = all.iter().map(|merchant| (merchant.category, merchant.country)).collect();
        assert_eq!((names.len(), kinds.len()), (500, 84));
        assert!(names.iter().all(|name| !name.contains([',', '"', '\n'])));
    }
}
