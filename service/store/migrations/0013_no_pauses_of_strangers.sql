-- An account without a connection no longer has a pause: its users wait in instagram_participants.

DELETE FROM instagram_pauses WHERE reason = 'no_connection';
