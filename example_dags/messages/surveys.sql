CREATE TABLE IF NOT EXISTS survey (
    answer_id INTEGER PRIMARY KEY,
    answered_at TEXT NOT NULL,
    comment TEXT NOT NULL,
    score INTEGER,
    country TEXT
);
INSERT INTO survey VALUES (1, '2026-01-05T18:02:11Z', 'Fast delivery, good packaging.', 9, 'DE')
    ON CONFLICT DO NOTHING;
INSERT INTO survey VALUES (2, '2026-01-05T19:47:30Z', 'The app is slow on my phone.', 5, 'FR')
    ON CONFLICT DO NOTHING;
INSERT INTO survey VALUES (3, '2026-01-06T07:15:09Z', 'I waited twelve minutes on the phone and was then cut off.', 1, 'UK')
    ON CONFLICT DO NOTHING;
INSERT INTO survey VALUES (4, '2026-01-06T12:33:54Z', 'Great prices, I have told my friends.', 10, 'DE')
    ON CONFLICT DO NOTHING;
INSERT INTO survey VALUES (5, '2026-01-06T21:08:40Z', 'Returns are too complicated.', 4, NULL)
    ON CONFLICT DO NOTHING;
INSERT INTO survey VALUES (6, '2026-01-07T10:26:17Z', 'Nothing to complain about.', NULL, 'FR')
    ON CONFLICT DO NOTHING;
