//! Statements that differ in one part, as templates. Their users also import the macros of their columns.

/// A statement that reads accounts with their apps.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            " FROM messaging_accounts a JOIN messaging_apps p ON p.key = a.app ",
            $rest
        )
    };
}

/// A statement that reads apps.
macro_rules! select_apps {
    ($rest:literal) => {
        concat!("SELECT ", app_columns!(), " FROM messaging_apps p ", $rest)
    };
}

/// A statement that reads the accounts that a list names, each with its devices, or once without any.
macro_rules! load_accounts {
    ($named:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            ", d.key, d.number, d.registration_id, d.has_keys,
                d.fetches_messages OR d.apn IS NOT NULL OR d.gcm IS NOT NULL, d.last_seen,
                d.attributes
            FROM ",
            $named,
            " JOIN messaging_apps p ON p.key = a.app
            LEFT JOIN messaging_devices d ON d.account = a.key"
        )
    };
}

/// A statement that reads the devices that a list of logins may mean.
macro_rules! find {
    ($named:literal) => {
        concat!(
            "SELECT l.entry, ",
            account_columns!(),
            ", ",
            device_columns!(),
            ", ",
            app_columns!(),
            " FROM ",
            $named,
            " JOIN messaging_apps p ON p.key = a.app
            JOIN messaging_devices d ON d.account = a.key AND d.number = l.device
            ORDER BY l.entry, a.key"
        )
    };
}

/// A statement that removes the messages that a list of acknowledgements names.
macro_rules! take_messages {
    ($named:expr) => {
        concat!(
            "WITH named AS (",
            $named,
            ") DELETE FROM messaging_messages m USING named n
            WHERE m.device = n.device AND m.position = n.position
            RETURNING n.entry, m.kind, m.source, m.timestamp, m.is_to_number,
                octet_length(m.envelope)::bigint"
        )
    };
}

/// A statement for acknowledgements that name a message by a column. If several name the same value, each gets another
/// message, the oldest first.
macro_rules! take_messages_by {
    ($entries:literal, $partition:literal, $condition:literal) => {
        take_messages!(concat!(
            "SELECT a.entry, a.device, m.position FROM (
                SELECT *, row_number() OVER (PARTITION BY ",
            $partition,
            " ORDER BY entry) AS nth FROM ",
            $entries,
            ") AS a CROSS JOIN LATERAL (
                SELECT m.position FROM messaging_messages m WHERE m.device = a.device AND ",
            $condition,
            " ORDER BY m.position OFFSET a.nth - 1 LIMIT 1) AS m"
        ))
    };
}

pub(super) use {
    find, load_accounts, select_accounts, select_apps, take_messages, take_messages_by,
};
