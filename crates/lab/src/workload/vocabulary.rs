//! The word lists and sentence patterns that desk manuals and questions are made of.
//!
//! Real English words in real sentences, so that a tokenizer meets what it was trained on; a `{slot}` is filled by
//! [`fill`](super::manual) from the desk's own facts or from these lists. Adding a line changes every generated workload.

/// Where a desk is; the first word of its manual, so manuals differ from their first characters on.
pub(super) const PLACES: &[&str] = &[
    "Ashford",
    "Brackley",
    "Crowland",
    "Dunster",
    "Eastry",
    "Fairford",
    "Glossop",
    "Hexham",
    "Ilminster",
    "Jarrow",
    "Kelso",
    "Ludlow",
    "Malton",
    "Nairn",
    "Oakham",
    "Penrith",
    "Quorn",
    "Romsey",
    "Settle",
    "Totnes",
    "Upton",
    "Ventnor",
    "Wells",
    "Yarm",
];

/// A line of business and what it sells.
pub(super) struct Trade {
    pub(super) name: &'static str,
    pub(super) products: [&'static str; 6],
}

pub(super) const TRADES: &[Trade] = &[
    Trade {
        name: "Bicycles",
        products: [
            "touring bicycle",
            "child seat",
            "pannier bag",
            "dynamo lamp",
            "steel lock",
            "repair stand",
        ],
    },
    Trade {
        name: "Bakery",
        products: ["rye loaf", "wedding cake", "seed roll", "apple tart", "gift basket", "breakfast box"],
    },
    Trade {
        name: "Gardens",
        products: ["rose bush", "garden shed", "clay pot", "hand spade", "fruit tree", "bag of compost"],
    },
    Trade {
        name: "Pianos",
        products: [
            "upright piano",
            "grand piano",
            "music stool",
            "tuning service",
            "digital piano",
            "metronome",
        ],
    },
    Trade {
        name: "Optics",
        products: ["reading lens", "field glass", "sun shade", "eye test", "metal frame", "cleaning cloth"],
    },
    Trade {
        name: "Travel",
        products: ["rail pass", "coach tour", "island ferry", "city guide", "travel cover", "hotel voucher"],
    },
    Trade {
        name: "Books",
        products: ["school reader", "county atlas", "poetry book", "leather diary", "story set", "old print"],
    },
    Trade {
        name: "Kitchens",
        products: ["iron pan", "oak table", "bread knife", "copper kettle", "gas stove", "spice rack"],
    },
    Trade {
        name: "Clocks",
        products: ["wall clock", "pocket watch", "alarm bell", "watch strap", "ship clock", "winding key"],
    },
    Trade {
        name: "Fabrics",
        products: ["wool blanket", "linen sheet", "cotton shirt", "silk scarf", "curtain rail", "sewing kit"],
    },
    Trade {
        name: "Boats",
        products: ["rowing boat", "life jacket", "canvas sail", "brass anchor", "river chart", "boat cover"],
    },
    Trade {
        name: "Pets",
        products: ["dog basket", "bird cage", "cat carrier", "fish tank", "rabbit hutch", "riding saddle"],
    },
];

pub(super) const DAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "the first Monday of the month",
];
pub(super) const HOURS: &[&str] =
    &["eight", "nine", "ten", "eleven", "noon", "one", "two", "three", "four", "five", "six", "seven"];
pub(super) const PEOPLE: &[&str] = &[
    "Mrs Bennett",
    "Mr Carter",
    "Miss Dalton",
    "Mr Ellis",
    "Mrs Foster",
    "Mr Graham",
    "Miss Harper",
    "Mr Irving",
    "Mrs Jennings",
    "Mr Lawson",
    "Miss Mercer",
    "Mr Norton",
];
pub(super) const STREETS: &[&str] = &[
    "Mill Street",
    "Station Road",
    "Market Square",
    "Bridge Lane",
    "Church Walk",
    "Castle Hill",
    "Harbour Row",
];
pub(super) const CONDITIONS: &[&str] = &[
    "with the receipt",
    "in its own box",
    "without any mark of use",
    "after a word with the manager",
    "at no charge",
    "for a small fee",
    "when the weather allows it",
    "by letter or in person",
    "if it was paid in full",
];
pub(super) const GOODS: &[&str] = &[
    "a letter of thanks",
    "a free catalogue",
    "a small discount",
    "a cup of tea",
    "a second opinion",
    "a spare part",
];

/// What a manual says after its opening; every pattern has at least two slots, so two desks seldom share a sentence.
pub(super) const RULES: &[&str] = &[
    "A {product} costs {number} pounds, and two of them together cost {number} pounds when they are ordered on {day}.",
    "The shop in {street} opens at {hour} in the morning and closes at {hour} in the evening on {day}.",
    "A {product} may be brought back within {number} days, {condition}, and the price is paid out at the same desk.",
    "Orders over {number} pounds are carried to the house for nothing, and smaller ones cost {number} pounds to send.",
    "{person} looks after every question about the {product}, and can be reached on {day} after {hour}.",
    "If the {product} is out of stock, offer the {product} in its place and take {number} pounds off the price.",
    "A customer who waits longer than {number} days for a {product} is given {goods}, {condition}.",
    "Repairs to a {product} take {number} days, and {person} writes to the customer as soon as the work is done.",
    "On {day} the warehouse in {street} is closed, so nothing that is ordered then can leave before {hour} the next day.",
    "Never promise a {product} by {day} unless {person} has said that there are at least {number} of them in the house.",
    "Members pay {number} pounds a year, and for that they have {goods} with every {product} they buy.",
    "A broken {product} is replaced {condition}, and {person} must see it before {hour} on {day}.",
    "The guarantee on a {product} runs for {number} months and covers everything but damage by water or by fire.",
    "Ask for the number of the order, which has {number} in it and stands at the top of every letter from {person}.",
    "Parking behind the shop in {street} is free for {number} minutes, and longer for those who collect a {product}.",
    "Gift cards are sold in steps of {number} pounds and may be used for a {product}, but never changed for money.",
    "Schools and hospitals have {number} pounds off each {product}, {condition}, and should write to {person}.",
    "When two customers want the last {product}, it belongs to the one who asked first, and the other has {goods}.",
    "A deposit of {number} pounds keeps a {product} aside until {hour} on {day}, and not a minute longer.",
    "Complaints about a {product} are answered within {number} hours by {person}, who may offer {goods}.",
    "Lessons in the use of a {product} are held every {day} at {hour}, and cost {number} pounds for each person.",
    "The heavy {product} is delivered by two men from {street}, who come between {hour} and {hour} on {day}.",
    "Payment for a {product} may be made in {number} parts, {condition}, and the first is due on {day}.",
    "The {product} in the window is not for sale, but {person} can order the same one within {number} days.",
    "A second hand {product} is bought for no more than {number} pounds, {condition}, and only on {day}.",
    "Whoever calls after {hour} on {day} is asked to leave a name, and {person} calls back within {number} hours.",
    "The winter price of a {product} is {number} pounds, and the summer price is {number} pounds more.",
    "Every {product} carries a green label with the number {number}, which {person} reads out over the telephone.",
    "Children under {number} years may not use a {product} alone, and the seller must say so {condition}.",
    "Visitors from abroad have the tax on a {product} paid back at the desk in {street} before {hour} on {day}.",
];

/// What customers ask; each names a product, so that patterns times products gives a desk's stock of questions.
pub(super) const QUESTIONS: &[&str] = &[
    "How much does a {product} cost?",
    "Can I bring back a {product} that I bought last week?",
    "How long does a repair of my {product} take?",
    "Who can tell me more about the {product}?",
    "Do you have a {product} in stock today?",
    "Is the {product} covered by a guarantee?",
    "When could you deliver a {product} to my house?",
    "May I pay for the {product} in parts?",
    "What happens if my {product} breaks?",
    "Could you keep a {product} aside for me?",
    "Is there a lesson on how to use a {product}?",
    "Do members pay less for a {product}?",
    "Would you buy my old {product} from me?",
    "Which {product} would you give to a friend?",
    "Can my school have a {product} at a lower price?",
    "At what hour can I collect the {product}?",
];

/// The one sentence that every prompt of the `preamble` workload starts with: far longer than twenty characters.
pub(super) const PREAMBLE: &str = "You are a patient and friendly assistant at a help desk, and you answer every customer \
    briefly, politely and only from the manual that follows.";

/// The two prompts of the `phrases` workload. The proof of concept's own were a few words each, less than one 16-token
/// block, which no engine can cache; these are a few sentences, so that a repeated prompt has blocks to find.
pub(super) const PHRASES: [&str; 2] = [
    "It was a clear morning in early spring, and the old captain walked slowly down to the harbour to look at the ships. \
     He had been at sea for forty years, and there was no coast in the world that he had not seen. The wind was from the \
     west, the tide was high, and the men were singing as they carried the last of the barrels aboard. He stopped at the \
     end of the pier, took off his hat, and said to the boy beside him",
    "The garden behind the house had not been touched for many years, and the roses had grown over the gate until nobody \
     could open it. Every evening the two sisters looked at it from the kitchen window and wondered what was hidden there. \
     One night, when the moon was full and their father was asleep, they took the lamp and the long knife from the \
     kitchen and went quietly down the steps. The first thing that they saw was",
];
