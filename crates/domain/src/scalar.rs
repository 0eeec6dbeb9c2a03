//! Scalars that are written as text. What a variable holds is checked before anything is executed, so a bad date in the
//! second field of a document cannot come after the first field's change.

/// Makes a type that reads itself from text and shows itself as text a scalar of the graph.
macro_rules! text_scalar {
    ($type:ident as $name:literal: $description:literal, specified by $url:literal) => {
        #[doc = $description]
        #[async_graphql::Scalar(name = $name, specified_by_url = $url)]
        impl async_graphql::ScalarType for $type {
            fn parse(value: async_graphql::Value) -> async_graphql::InputValueResult<Self> {
                match value {
                    async_graphql::Value::String(text) => {
                        text.parse().map_err(|_| async_graphql::InputValueError::custom(concat!("not a ", $name)))
                    }
                    other => Err(async_graphql::InputValueError::expected_type(other)),
                }
            }

            fn is_valid(value: &async_graphql::Value) -> bool {
                matches!(value, async_graphql::Value::String(text) if text.parse::<$type>().is_ok())
            }

            fn to_value(&self) -> async_graphql::Value {
                async_graphql::Value::String(self.to_string())
            }
        }
    };
}

pub(crate) use text_scalar;
