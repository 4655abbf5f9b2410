//! Lists of labels: each with what it means, and what the operator does next.

/// A list as an enum: each variant has a label, a sentence and, in a list of advice, what the operator does next.
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        $list:ident: $($name:ident $label:literal $sentence:literal)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $list { $(#[doc = $sentence] $name,)* }

        impl $list {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in answers, metrics and logs, and on the command line. It does not change between versions.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $list:ident: $($name:ident $label:literal $sentence:literal $advice:literal)*
    ) => {
        $crate::labels! {
            $(#[$meta])*
            $list: $($name $label $sentence)*
        }

        impl $list {
            /// What the operator does next.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}
