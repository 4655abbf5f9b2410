//! Reads the kernel object's types (BTF), for tests.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>.

/// The types of an object.
pub(super) struct Types {
    /// By their numbers; number 0 is `void`.
    types: Vec<Type>,
}

#[derive(Clone, Debug, Default)]
struct Type {
    name: String,
    kind: u32,
    /// The size, or the number of another type.
    target: u32,
    /// Of structures: names, types, and where they begin in bytes.
    members: Vec<(String, usize, u32)>,
    /// Of arrays: the elements' type, and how many.
    elements: (usize, u32),
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// Words, one after another.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> u32 {
        let (word, rest) = self.0.split_first_chunk().expect("a word");
        self.0 = rest;
        u32::from_le_bytes(*word)
    }

    fn skip(&mut self, count: u32) {
        self.0 = &self.0[4 * count as usize..];
    }
}

impl Types {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut header = Words(bytes);
        let (_magic, length) = (header.next(), header.next() as usize);
        let [types_at, length_of_types, names_at, _] = [(); 4].map(|()| header.next() as usize);
        let name = |at: u32| {
            let name = &bytes[length + names_at + at as usize..];
            let end = name.iter().position(|byte| *byte == 0).expect("the name's end");
            String::from_utf8(name[..end].into()).expect("a name")
        };
        let mut words = Words(&bytes[length + types_at..][..length_of_types]);
        let mut types = vec![Type::default()];
        while !words.0.is_empty() {
            let (called, info, target) = (words.next(), words.next(), words.next());
            let (kind, count) = ((info >> 24) & 0x1f, info & 0xffff);
            let mut found = Type { name: name(called), kind, target, ..Type::default() };
            match kind {
                INT | VAR | DECL_TAG => words.skip(1),
                ARRAY => {
                    let (element, _index) = (words.next() as usize, words.next());
                    found.elements = (element, words.next());
                }
                STRUCT | UNION => {
                    for _ in 0..count {
                        let (member, kind) = (name(words.next()), words.next() as usize);
                        found.members.push((member, kind, (words.next() & 0xff_ffff) / 8));
                    }
                }
                ENUM | FUNC_PROTO => words.skip(2 * count),
                DATASEC | ENUM64 => words.skip(3 * count),
                _ => {}
            }
            types.push(found);
        }
        Self { types }
    }

    /// The fields of a map's keys or values, which `part` says: where each begins, its name and its type.
    pub(super) fn fields_of_map(&self, map: &str, part: &str) -> Vec<String> {
        let variable = self.types.iter().find(|one| one.kind == VAR && one.name == map);
        let variable = variable.unwrap_or_else(|| panic!("BTF has no map {map}"));
        let definition = &self.types[variable.target as usize];
        let member = definition.members.iter().find(|(name, ..)| name == part);
        let Some((_, pointer, _)) = member else { return Vec::new() };
        let pointer = &self.types[*pointer];
        assert_eq!(pointer.kind, PTR, "{map}: {part} is no pointer");
        let mut fields = Vec::new();
        self.flatten(pointer.target as usize, 0, "", &mut fields);
        fields
    }

    fn flatten(&self, number: usize, at: u32, name: &str, fields: &mut Vec<String>) {
        let found = &self.types[number];
        if found.kind != STRUCT && found.kind != UNION {
            let space = if name.is_empty() { "" } else { " " };
            fields.push(format!("{at} {name}{space}{}", self.label(number)));
            return;
        }
        for (member, number, offset) in &found.members {
            let dot = if name.is_empty() { "" } else { "." };
            self.flatten(*number, at + offset, &format!("{name}{dot}{member}"), fields);
        }
    }

    /// What a type that is no structure is called.
    fn label(&self, number: usize) -> String {
        let found = &self.types[number];
        match found.kind {
            ARRAY => format!("[{}; {}]", self.label(found.elements.0), found.elements.1),
            _ => found.name.clone(),
        }
    }
}
