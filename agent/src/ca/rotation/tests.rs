use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

/// By somebody who is at work all the time.
fn served(record: Record, from: u64, to: u64) -> Record {
    let times = (from..to).step_by(6);
    times.fold(record, |record, now| {
        record.used(minute(), at(now)).unwrap_or(record)
    })
}

#[test]
fn stages_follow_one_another_and_last_as_long_as_certificates() {
    let record = Record::default().used(minute(), at(0)).unwrap();
    let mut record = record.begun(Rotated::Root, false, at(10));
    for (stage, until) in [
        (Stage::Distributing, 76),
        (Stage::Signing, 82),
        (Stage::Retiring, 148),
    ] {
        assert_eq!(record.stage(), stage);
        let rotation = record.rotation.unwrap();
        assert_eq!(rotation.until, timestamp(at(until)), "{stage}");
        record = served(record, until - 65, until);
        assert_eq!(record.advanced(at(until - 1)), None);
        record = record.advanced(at(until)).unwrap();
    }
    assert_eq!(record.rotation, None);
    assert_eq!(record.generation, 1);
}

#[test]
fn a_root_is_not_told_while_nobody_is_there_to_tell_it() {
    let record = Record::default().used(minute(), at(0)).unwrap();
    let record = record.begun(Rotated::Root, false, at(10));
    let until = |record: &Record| record.rotation.unwrap().until;
    let record = record.used(minute(), at(20)).unwrap();
    assert_eq!(until(&record), timestamp(at(76)));
    // Whoever comes first after a long time neither goes on at once, nor lets another do so.
    assert_eq!(record.advanced(at(1020)), None);
    let record = record.used(minute(), at(1020)).unwrap();
    assert_eq!(until(&record), timestamp(at(1076)));
    let record = record.used(minute(), at(1070)).unwrap();
    assert_eq!(until(&record), timestamp(at(1126)));
    assert_eq!(
        served(record, 1070, 1126)
            .advanced(at(1126))
            .unwrap()
            .stage(),
        Stage::Signing
    );
}

#[test]
fn a_known_root_needs_no_distribution() {
    let record = Record::default().begun(Rotated::Intermediate, true, at(0));
    assert_eq!(record.stage(), Stage::Signing);
}

#[test]
fn one_change_at_a_time_and_given_up_only_before_it_signs() {
    let stable = Record::default();
    assert!(matches!(stable.aborted(), Err(CaError::NothingToAbort)));
    assert!(stable.check_stable().is_ok());
    let begun = stable.begun(Rotated::Root, false, at(0));
    let error = begun.check_stable().unwrap_err().to_string();
    assert!(
        error.contains("root") && error.contains("distributing"),
        "{error}"
    );
    assert_eq!(begun.aborted().unwrap().rotation, None);
    let signing = begun.advanced(at(200_000)).unwrap();
    assert!(matches!(
        signing.aborted(),
        Err(CaError::TooLateToAbort { .. })
    ));
}

#[test]
fn the_longest_life_counts_until_none_can_be_left() {
    let record = Record::default();
    assert_eq!(record.longest(at(0)), LONGEST_LIFE);
    let hour = Duration::from_secs(3600);
    let record = record.used(hour, at(0)).unwrap();
    let record = record.used(minute(), at(60)).unwrap();
    assert_eq!(record.longest(at(3600)), hour);
    assert_eq!(record.longest(at(7200)), hour);
    let record = record.used(minute(), at(7201)).unwrap();
    assert_eq!(record.longest(at(7201)), minute());
    assert_eq!(record.used(minute(), at(7206)), None);
    assert!(record.used(minute(), at(7207)).is_some());
}

#[test]
fn records_survive_being_written() {
    let record = Record::default().used(minute(), at(0)).unwrap();
    let record = record.begun(Rotated::Root, false, at(10));
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

#[test]
fn what_was_issued_by_hand_is_waited_for() {
    let record = Record::default().used(minute(), at(0)).unwrap();
    let record = record.issued(at(1000)).unwrap();
    assert_eq!(
        record.issued(at(999)),
        None,
        "an earlier end changes nothing"
    );
    let until = |record: &Record| record.rotation.unwrap().until;
    let record = record.begun(Rotated::Root, false, at(10));
    assert_eq!(until(&record), timestamp(at(1060)));
    // By the old key, while the new root is handed out.
    let record = record.issued(at(5000)).unwrap();
    let signing = served(record, 20, 1060).advanced(at(1060)).unwrap();
    assert_eq!(until(&signing), timestamp(at(1066)));
    let retiring = signing.advanced(at(1066)).unwrap();
    assert_eq!(until(&retiring), timestamp(at(5060)));
    assert_eq!(retiring.by_hand(at(4999)), Some(timestamp(at(5000))));
    assert_eq!(retiring.by_hand(at(5000)), None);
}

#[test]
fn who_hurries_waits_for_what_is_renewed_alone() {
    let record = Record::default().used(minute(), at(0)).unwrap();
    let record = record.issued(at(100_000)).unwrap();
    let waiting = record.begun(Rotated::Root, false, at(10));
    let hurried = waiting.hurried();
    let plain = Record::default().used(minute(), at(0)).unwrap();
    assert_eq!(hurried, plain.begun(Rotated::Root, false, at(10)));
    assert_eq!(
        record.hurried(),
        plain,
        "nothing is going on, and nothing begins"
    );
}

#[test]
fn records_of_versions_that_knew_nothing_by_hand_are_read() {
    let record: Record = serde_json::from_str(r#"{"rotation": null, "lives": {}}"#).unwrap();
    assert_eq!(record, Record::default());
    assert!(!serde_json::to_string(&record).unwrap().contains("by_hand"));
}

#[test]
fn whatever_a_record_says_is_counted_with() {
    let text = r#"{"rotation": {"what": "root", "stage": "retiring", "since": "9999-12-30T22:00:00Z",
        "until": "9999-12-30T22:00:00Z"}, "generation": 18446744073709551615,
        "lives": {"18446744073709551615": "9999-12-30T22:00:00Z", "0": "-009999-01-02T01:59:59Z"},
        "by_hand": "9999-12-30T22:00:00Z"}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    let now = at(0);
    assert_eq!(record.longest(now), LONGEST_LIFE);
    assert_eq!(record.advanced(now), None);
    record.used(minute(), now);
    record.hurried();
    record.begun(Rotated::Root, false, now);
}
