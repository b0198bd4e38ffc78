-- An account without a connection has no pause any more: its users wait in instagram_participants.

DELETE FROM instagram_pauses WHERE reason = 'no_connection';
