"""The tables, emptied between tests that share a database."""

EMPTY_TABLES = """
DELETE FROM instagram_participants;
DELETE FROM instagram_user_cache;
DELETE FROM instagram_pictures;
DELETE FROM instagram_connections;
DELETE FROM instagram_token_checks;
DELETE FROM instagram_leavings;
DELETE FROM instagram_pauses;
DELETE FROM instagram_streaks;
DELETE FROM instagram_conversation_limits;
DELETE FROM instagram_forwards;
"""
