// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The macro that makes a complete type and its update type out of one table.

/// Expands rows of `"name" field: Type = default, "one line about it", "more"...;` into the types,
/// and into everything that has to look at each row.
macro_rules! table {
    (
        $group:ident, $(#[$full_doc:meta])* $full:ident, $(#[$update_doc:meta])* $update:ident;
        $( $name:literal $field:ident: $type:ty = $default:expr, $about:literal $(, $more:literal)*; )*
    ) => {
        $(#[$full_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $full {
            $(
                #[doc = concat!("`", $name, "`: ", $about)]
                $( #[doc = ""] #[doc = $more] )*
                pub $field: $type,
            )*
        }

        $(#[$update_doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $update {
            $(
                #[doc = concat!("The new value of `", $name, "`.")]
                pub $field: Option<$type>,
            )*
        }

        impl Default for $full {
            /// QEMU's defaults.
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $full {
            /// With what `update` names, whether or not that keeps the rules.
            pub(crate) fn with(&self, update: &$update) -> Self {
                let mut new = self.clone();
                $( if let Some(value) = &update.$field { new.$field.clone_from(value); } )*
                new
            }

            /// Every name with its value as text that can be set again.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> {
                [ $( ($name, Value::text(&self.$field)), )* ].into_iter()
            }
        }

        /// One `name: value` per line, with units, as QEMU's monitor prints them. Each line can be
        /// parsed again.
        impl fmt::Display for $full {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let lines = [ $( value::line($name, &self.$field), )* ];
                f.write_str(&lines.join("\n"))
            }
        }

        impl $update {
            /// QEMU's names, in the order in which they are printed.
            pub const NAMES: &'static [&'static str] = &[ $( $name, )* ];

            /// Whether nothing is named.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                true $( && self.$field.is_none() )*
            }

            /// Adds what `later` names; where both name the same, `later` wins.
            pub fn merge(&mut self, later: Self) {
                $( self.$field = later.$field.or(self.$field.take()); )*
            }

            /// What is named, with the new value as text that can be set again.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> {
                [ $( self.$field.as_ref().map(|value| ($name, Value::text(value))), )* ]
                    .into_iter()
                    .flatten()
            }

            /// Adds one assignment: `name=value`, `name: value` or `name value`.
            ///
            /// # Errors
            ///
            /// [`ParamError`] says what is wrong with the name or the value.
            pub fn set(&mut self, text: &str) -> Result<(), ParamError> {
                self.assign(Assignment::split(text)?)
            }

            pub(crate) fn assign(&mut self, assignment: Assignment<'_>) -> Result<(), ParamError> {
                match assignment.name {
                    $( $name => {
                        self.$field = Some(assignment.given.read(Group::$group, $name)?);
                    } )*
                    other => return Err(catalog::unknown(other, Group::$group)),
                }
                Ok(())
            }
        }

        impl FromStr for $update {
            type Err = ParamError;

            /// Reads one assignment: `name=value`, `name: value` or `name value`.
            fn from_str(text: &str) -> Result<Self, ParamError> {
                let mut update = Self::default();
                update.set(text)?;
                Ok(update)
            }
        }
    };
}
pub(crate) use table;
