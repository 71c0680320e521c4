-- One row about WANG (650100000000001) in every table that other parts of the room write; LI is 650500000000002.
INSERT INTO persons (psn_no, certificate_kind, certno_sealed, name_sealed, key_id, name_masked, brdy, gend, version,
    registered_at, merged_into)
SELECT '650100000000099', certificate_kind, certno_sealed, name_sealed, key_id, name_masked, brdy, gend, 1,
    registered_at, psn_no FROM persons WHERE psn_no = '650100000000001';

INSERT INTO used_codes (jti, psn_no, fixmedins_code, terminal_no, used_at, shown_by) VALUES
    (gen_random_uuid(), '650100000000099', 'H65010000001', 'T1', '2026-07-01 04:30Z', '650500000000002'),
    (gen_random_uuid(), '650500000000002', 'H65010000001', 'T1', '2026-07-01 04:30Z', '650100000000099');

INSERT INTO refused_decodings (minute, fixmedins_code, terminal_no, reason, psn_no, refusals, first_at, last_at)
VALUES ('2026-07-01 04:30Z', 'H65010000001', 'T1', 'CODE_EXPIRED', '650100000000001', 2, '2026-07-01 04:30Z',
    '2026-07-01 04:30Z');

INSERT INTO cards (card_id, psn_no, card_no_index, card_no_sealed, key_id, card_no_masked, state, issued_at, issued_by)
VALUES (gen_random_uuid(), '650100000000001', decode(repeat('00', 32), 'hex'), 'sealed', 'k1', '*****1234', 'ISSUED',
    '2026-07-01 04:30Z', 'zhang01');
INSERT INTO card_changes (card_id, change, opter, changed_at)
SELECT card_id, 'ISSUED', 'zhang01', issued_at FROM cards;

INSERT INTO wards (guardian_psn_no, ward_psn_no, guardian_attestation_id, added_at)
SELECT guardian, ward, attestation_id, attested_at FROM attestations,
    (VALUES ('650100000000001', '650500000000002'), ('650500000000002', '650100000000001')) AS pairs (guardian, ward);
INSERT INTO ward_changes (guardian_psn_no, ward_psn_no, change, changed_at, changed_by)
VALUES ('650100000000001', '650500000000002', 'ADDED', '2026-07-01 04:30Z', 'person:650100000000001');

INSERT INTO kinship_decisions (fact_id, state, decider, opter, cause, decided_at)
SELECT fact_id, 'VERIFIED', 'OFFICER', 'zhang01', '', submitted_at FROM kinship_facts;
INSERT INTO registry_rows (kind, a_index, b_index, from_date, loaded_at, loaded_by)
SELECT 'PARENT_OF', certno_index, decode(repeat('00', 32), 'hex'), '0001-01-01', registered_at, 'operator:zhang01'
FROM persons WHERE psn_no = '650100000000001';

INSERT INTO appeals (appeal_id, sanction_id, appeal_no, filed_on, state, filed_by, recorded_at)
SELECT gen_random_uuid(), sanction_id, '复议1号', '2026-07-02', 'FILED', 'zhang01', imposed_at FROM sanctions;

INSERT INTO risk_events (risk_event_id, kind, subject, psn_no, terminal_no, day, state, raised_at, evidence_at,
    evidence_count, cause, opter, decided_at) VALUES
    ('00000000-0000-0000-0000-000000000001', 'REFUSED_CODES', 'person:650100000000001', '650100000000001', '',
        '2026-07-01', 'DISMISSED', '2026-07-01 04:30Z', '2026-07-01 04:30Z', 1, '误报', 'zhang01', '2026-07-01 04:30Z'),
    ('00000000-0000-0000-0000-000000000002', 'FAR_TERMINALS', 'person:650100000000001', '650100000000001', '',
        '2026-07-01', 'OPEN', '2026-07-01 04:30Z', '2026-07-01 04:30Z', 1, NULL, NULL, NULL);
INSERT INTO risk_evidence (kind, subject, evidence_key, risk_event_id, occurred_at, fixmedins_code, terminal_no, reason,
    occurrences)
SELECT kind, subject, risk_event_id::text, risk_event_id, raised_at, 'H65010000001', 'T1', 'CODE_EXPIRED', 3
FROM risk_events;

INSERT INTO credential_refusals (event_id, patient_psn_no, presented_psn_no, fixmedins_code, terminal_no, reason,
    refused_at)
VALUES (gen_random_uuid(), '650500000000002', '650100000000001', 'H65010000001', 'T1', 'CREDENTIAL_NOT_OF_PATIENT',
    '2026-07-01 04:30Z');
INSERT INTO pharmacy_buys (setl_id, psn_no, patient_psn_no, fixmedins_code, settled_at)
VALUES (gen_random_uuid(), '650100000000001', '650500000000002', 'P65010000001', '2026-07-01 04:30Z');
INSERT INTO funded_bills (setl_id, psn_no, patient_psn_no, fixmedins_code, settled_at)
VALUES (gen_random_uuid(), '650100000000001', '650500000000002', 'P65010000001', '2026-07-01 04:30Z');
