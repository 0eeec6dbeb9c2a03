//! Queries as the stand-in understands them: fields of one object, by change time and id, in that order. Whatever else
//! the language has is refused.

use crosstie_sdk::domain::Instant;

/// A query that was understood.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) fields: Vec<String>,
    pub(super) object: String,
    pub(super) condition: Condition,
    /// Whether the rows come by (change time, id); otherwise in an order that nobody may rely on.
    pub(super) ordered: bool,
    pub(super) limit: Option<usize>,
}

/// What rows have to be like.
#[derive(Debug)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Changed(Operator, Instant),
    Id(Operator, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    /// A number or a moment, which begin with a digit.
    Number(String),
    Mark(String),
}

type Read<T> = Result<T, String>;

impl Query {
    /// Reads a query.
    pub(super) fn parse(soql: &str) -> Read<Self> {
        let mut rest = Tokens { tokens: tokens(soql)?, at: 0 };
        rest.keyword("SELECT")?;
        let mut fields = vec![rest.word()?];
        while rest.take_mark(",") {
            fields.push(rest.word()?);
        }
        rest.keyword("FROM")?;
        let object = rest.word()?;
        let condition = if rest.take_keyword("WHERE") { rest.condition()? } else { Condition::All(Vec::new()) };
        let ordered = rest.take_keyword("ORDER");
        if ordered {
            rest.keyword("BY")?;
            rest.keyword("SystemModstamp")?;
            rest.mark(",")?;
            rest.keyword("Id")?;
        }
        let limit = if rest.take_keyword("LIMIT") { Some(rest.number()?) } else { None };
        match rest.next() {
            None => Ok(Self { fields, object, condition, ordered, limit }),
            Some(token) => Err(format!("unexpected token: {token:?}")),
        }
    }
}

impl Condition {
    pub(super) fn holds(&self, changed_at: Instant, id: &str) -> bool {
        match self {
            Self::All(all) => all.iter().all(|condition| condition.holds(changed_at, id)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(changed_at, id)),
            Self::Changed(operator, at) => operator.holds(changed_at.cmp(at)),
            Self::Id(operator, than) => operator.holds(id.cmp(than.as_str())),
        }
    }
}

impl Operator {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

fn tokens(soql: &str) -> Read<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = soql.trim_start();
    while let Some(first) = rest.chars().next() {
        let run = |is_part: fn(char) -> bool| rest.find(|part| !is_part(part)).unwrap_or(rest.len());
        let (token, length) = match first {
            'A'..='Z' | 'a'..='z' => {
                let length = run(|part| part.is_ascii_alphanumeric() || part == '_');
                (Token::Word(rest[..length].to_owned()), length)
            }
            '0'..='9' => {
                let length = run(|part| part.is_ascii_alphanumeric() || matches!(part, ':' | '.' | '-' | '+'));
                (Token::Number(rest[..length].to_owned()), length)
            }
            '\'' => {
                let text = rest[1..].split('\'').next().unwrap_or_default();
                if text.contains('\\') || rest.len() < text.len() + 2 {
                    return Err("a text with an escape or without an end".to_owned());
                }
                (Token::Text(text.to_owned()), text.len() + 2)
            }
            '>' | '<' => {
                let length = if rest[1..].starts_with('=') { 2 } else { 1 };
                (Token::Mark(rest[..length].to_owned()), length)
            }
            ',' | '(' | ')' | '=' => (Token::Mark(first.to_string()), 1),
            _ => return Err(format!("unexpected token: {first:?}")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Tokens, and how far they were read.
struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn expected(what: &str, found: Option<Token>) -> String {
        found.map_or_else(
            || format!("expecting {what}, found the end"),
            |found| format!("expecting {what}, found {found:?}"),
        )
    }

    fn word(&mut self) -> Read<String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(Self::expected("a name", other)),
        }
    }

    fn number(&mut self) -> Read<usize> {
        match self.next() {
            Some(Token::Number(text)) => text.parse().map_err(|_| format!("{text} is no number")),
            other => Err(Self::expected("a number", other)),
        }
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        self.at += usize::from(found);
        found
    }

    fn keyword(&mut self, keyword: &str) -> Read<()> {
        if self.take_keyword(keyword) { Ok(()) } else { Err(Self::expected(keyword, self.next())) }
    }

    fn take_mark(&mut self, mark: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Mark(found)) if found == mark);
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: &str) -> Read<()> {
        if self.take_mark(mark) { Ok(()) } else { Err(Self::expected(mark, self.next())) }
    }

    /// Terms that are all joined by AND, or all by OR: the language has no order among the two.
    fn condition(&mut self) -> Read<Condition> {
        let first = self.term()?;
        let joined = ["AND", "OR"].into_iter().find(|word| self.is_keyword(word));
        let Some(joined) = joined else { return Ok(first) };
        let mut terms = vec![first];
        while self.take_keyword(joined) {
            terms.push(self.term()?);
        }
        Ok(if joined == "AND" { Condition::All(terms) } else { Condition::Any(terms) })
    }

    fn term(&mut self) -> Read<Condition> {
        if self.take_mark("(") {
            let inner = self.condition()?;
            self.mark(")")?;
            return Ok(inner);
        }
        let field = self.word()?;
        let operator = match self.next() {
            Some(Token::Mark(mark)) => match mark.as_str() {
                "=" => Operator::Equal,
                "<" => Operator::Less,
                "<=" => Operator::LessOrEqual,
                ">" => Operator::Greater,
                ">=" => Operator::GreaterOrEqual,
                _ => return Err(format!("unexpected token: {mark:?}")),
            },
            other => return Err(Self::expected("an operator", other)),
        };
        match (field.to_ascii_lowercase().as_str(), self.next()) {
            ("systemmodstamp", Some(Token::Number(text))) => {
                let at = text.parse().map_err(|_| format!("{text} is no moment"))?;
                Ok(Condition::Changed(operator, at))
            }
            ("id", Some(Token::Text(id))) => Ok(Condition::Id(operator, id)),
            (_, value) => Err(format!("{field} cannot be compared with {value:?}")),
        }
    }
}
