//! Names of people, without commas or tabs, so that any text format can hold them.

pub(super) const WOMEN: [&str; 48] = [
    "Ada", "Agnes", "Alma", "Anna", "Beatrice", "Bertha", "Cecilia", "Clara", "Dora", "Edith",
    "Eleanor", "Elisa", "Emma", "Esther", "Eva", "Flora", "Frida", "Gerda", "Greta", "Hanna",
    "Helena", "Ida", "Irene", "Iris", "Johanna", "Julia", "Karin", "Laura", "Lena", "Lily",
    "Louise", "Lydia", "Magda", "Maria", "Martha", "Mina", "Nora", "Olga", "Paula", "Rosa", "Ruth",
    "Sara", "Sophie", "Thea", "Ursula", "Vera", "Viola", "Wilma",
];

pub(super) const MEN: [&str; 48] = [
    "Albert", "Anton", "Arthur", "August", "Basil", "Boris", "Carl", "Conrad", "David", "Edgar",
    "Emil", "Erik", "Ernest", "Felix", "Frank", "Fritz", "Georg", "Gustav", "Harald", "Henry",
    "Hugo", "Igor", "Isaac", "Jacob", "Johan", "Jonas", "Julius", "Karl", "Leo", "Lewis", "Ludwig",
    "Martin", "Max", "Nils", "Oscar", "Otto", "Paul", "Peter", "Ralph", "Robert", "Rudolf",
    "Samuel", "Simon", "Theodor", "Thomas", "Victor", "Walter", "William",
];

pub(super) const FAMILIES: [&str; 96] = [
    "Abbey", "Alder", "Arrow", "Ash", "Baker", "Barley", "Beck", "Berg", "Birch", "Bloom", "Boat",
    "Bridge", "Brook", "Carver", "Castle", "Cedar", "Clay", "Cliff", "Cloud", "Cooper", "Crane",
    "Croft", "Dale", "Dawn", "Dove", "Elm", "Falk", "Fern", "Field", "Finch", "Fisher", "Flint",
    "Ford", "Forest", "Fox", "Frost", "Garden", "Gate", "Glass", "Grove", "Hart", "Hawk", "Hazel",
    "Heath", "Heron", "Hill", "Holm", "Hunter", "Ivory", "Keller", "Kestrel", "Kirk", "Lake",
    "Lark", "Linden", "Lodge", "Maple", "Marsh", "Mason", "Meadow", "Mill", "Moor", "Moss",
    "North", "Oak", "Orchard", "Otter", "Park", "Pine", "Pond", "Porter", "Quill", "Raven", "Reed",
    "Ridge", "River", "Rook", "Rowan", "Sand", "Shaw", "Shepherd", "Slate", "Snow", "Sparrow",
    "Spring", "Stone", "Summer", "Swan", "Thorn", "Tower", "Vale", "Weaver", "Willow", "Winter",
    "Wolf", "Wood",
];
