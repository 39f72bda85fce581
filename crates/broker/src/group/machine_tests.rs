use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_millis(100);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn join(id: &str, new_id: &str) -> Join {
    Join {
        member_id: id.to_owned(),
        new_member_id: new_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        must_return: false,
        may_skip_assignment: true,
    }
}

fn who(member_id: &str) -> Identity<'_> {
    Identity { member_id, instance_id: None }
}

fn joined(answers: &[Answer]) -> Vec<&Joined> {
    answers.iter().filter_map(|answer| if let Answer::Join(_, joined) = answer { Some(joined) } else { None }).collect()
}

fn synced(answers: &[Answer]) -> Vec<&Synced> {
    answers.iter().filter_map(|answer| if let Answer::Sync(_, synced) = answer { Some(synced) } else { None }).collect()
}

/// A stable group of the members, with the assignment of each being its own name.
fn stable(members: &[&str]) -> Group {
    let mut group = Group::new(DELAY);
    for (token, member) in members.iter().enumerate() {
        assert!(group.join(at(0), &join("", member), token as u64).is_empty());
    }
    let answers = group.tick(DELAY);
    assert_eq!(joined(&answers).len(), members.len());
    sync_all(&mut group, members, 1);
    group
}

fn sync_all(group: &mut Group, members: &[&str], generation: i32) {
    let assignments: BTreeMap<String, Bytes> =
        members.iter().map(|member| ((*member).to_owned(), Bytes::from((*member).to_owned()))).collect();
    let mut answered = 0;
    for (token, member) in members.iter().enumerate() {
        let none = BTreeMap::new();
        let brought = if group.leader.as_deref() == Some(member) { &assignments } else { &none };
        answered +=
            synced(&group.sync(DELAY, who(member), generation, (None, None), brought, 100 + token as u64)).len();
    }
    assert_eq!((answered, group.state()), (members.len(), State::Stable));
}

#[test]
fn members_that_start_together_are_assigned_once() {
    let group = stable(&["a", "b", "c"]);
    assert_eq!(group.rebalances(), 1);
    assert_eq!(&group.members()["b"].assignment[..], b"b");
}

#[test]
fn only_the_leader_is_told_the_members() {
    let mut group = Group::new(DELAY);
    group.join(at(0), &join("", "a"), 1);
    group.join(at(0), &join("", "b"), 2);
    let answers = group.tick(DELAY);
    let joined = joined(&answers);
    assert!(joined.iter().all(|it| it.leader == "a" && it.generation == 1 && it.protocol.as_deref() == Some("range")));
    assert_eq!(joined.iter().map(|it| it.members.len()).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn a_member_without_an_id_must_come_back_with_the_one_it_is_given() {
    let mut group = Group::new(DELAY);
    let first = Join { must_return: true, ..join("", "a") };
    let answers = group.join(at(0), &first, 1);
    let refused = joined(&answers)[0];
    assert_eq!((refused.error, refused.member_id.as_str()), (Some(ResponseError::MemberIdRequired), "a"));
    assert!(group.join(at(1), &join("a", ""), 2).is_empty());
    assert_eq!(joined(&group.tick(at(200)))[0].error, None);
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten() {
    let mut group = Group::new(DELAY);
    group.join(at(0), &Join { must_return: true, ..join("", "a") }, 1);
    assert_eq!(group.next_deadline(), Some(SESSION));
    group.tick(SESSION);
    assert!(group.is_idle());
    let answers = group.join(SESSION, &join("a", ""), 2);
    assert_eq!(joined(&answers)[0].error, Some(ResponseError::UnknownMemberId));
}

#[test]
fn a_new_member_makes_all_join_again() {
    let mut group = stable(&["a", "b"]);
    assert!(group.join(at(500), &join("", "c"), 9).is_empty());
    assert_eq!(group.heartbeat(at(600), who("a"), 1), Err(ResponseError::RebalanceInProgress));
    assert!(group.join(at(600), &join("a", ""), 10).is_empty());
    let answers = group.join(at(700), &join("b", ""), 11);
    assert_eq!(joined(&answers).iter().filter(|it| it.generation == 2).count(), 3);
    sync_all(&mut group, &["a", "b", "c"], 2);
    assert_eq!(group.heartbeat(at(800), who("a"), 1), Err(ResponseError::IllegalGeneration));
    assert_eq!(group.heartbeat(at(800), who("a"), 2), Ok(()));
}

#[test]
fn a_member_that_doesnt_join_again_in_time_is_out() {
    let mut group = stable(&["a", "b"]);
    group.join(at(500), &join("", "c"), 9);
    group.join(at(600), &join("a", ""), 10);
    // b heartbeats on and on, and never joins.
    for second in 1..60 {
        group.tick(at(second * 1_000));
        let _told = group.heartbeat(at(second * 1_000), who("b"), 1);
    }
    assert_eq!(group.state(), State::Preparing);
    let answers = group.tick(at(500) + REBALANCE);
    assert_eq!(joined(&answers).len(), 2);
    assert!(!group.members().contains_key("b"));
    assert_eq!(group.heartbeat(at(61_000), who("b"), 1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_given_up_when_its_session_ends() {
    let mut group = stable(&["a", "b"]);
    group.heartbeat(at(9_000), who("a"), 1).unwrap();
    group.tick(DELAY + SESSION);
    assert_eq!(group.members().keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(group.state(), State::Preparing);
    let answers = group.join(at(11_000), &join("a", ""), 5);
    assert_eq!(joined(&answers)[0].generation, 2);
}

#[test]
fn a_leader_that_never_assigns_is_out() {
    let mut group = Group::new(Duration::ZERO);
    let answers = group.join(at(0), &join("", "a"), 1);
    assert_eq!(joined(&answers)[0].generation, 1);
    group.join(at(1), &join("", "b"), 2);
    group.join(at(2), &join("a", ""), 3);
    assert_eq!(group.state(), State::Completing);
    assert!(group.sync(at(3), who("b"), 2, (None, None), &BTreeMap::new(), 4).is_empty());
    for second in 1..60 {
        group.heartbeat(at(second * 1_000), who("a"), 2).unwrap();
        assert!(group.tick(at(second * 1_000)).is_empty());
    }
    let answers = group.tick(at(2) + REBALANCE);
    assert_eq!(synced(&answers)[0].error, Some(ResponseError::RebalanceInProgress));
    assert_eq!(group.members().keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn commits_are_fenced() {
    let mut group = stable(&["a"]);
    let now = at(500);
    assert_eq!(group.may_commit(now, who("a"), 1), Ok(()));
    assert_eq!(group.may_commit(now, who("a"), 0), Err(ResponseError::IllegalGeneration));
    assert_eq!(group.may_commit(now, who("z"), 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(group.may_commit(now, who(""), -1), Err(ResponseError::UnknownMemberId), "the group has members");
    let (left, _) = group.leave(now, who("a"));
    assert_eq!((left, group.state()), (Ok(()), State::Empty));
    assert_eq!(group.may_commit(now, who(""), -1), Ok(()));
}

#[test]
fn a_static_member_that_comes_back_disturbs_nobody_and_fences_its_former_self() {
    let mut group = Group::new(Duration::ZERO);
    let fixed = |new_id: &str| Join { instance_id: Some("one".to_owned()), ..join("", new_id) };
    group.join(at(0), &fixed("a"), 1);
    group.sync(at(1), who("a"), 1, (None, None), &BTreeMap::from([("a".to_owned(), Bytes::from_static(b"mine"))]), 2);
    assert_eq!(group.state(), State::Stable);

    let answers = group.join(at(2), &fixed("b"), 3);
    let back = joined(&answers)[0];
    assert_eq!((back.error, back.generation, back.member_id.as_str(), back.skip_assignment), (None, 1, "b", true));
    // A client that can't skip the assignment isn't told that it leads.
    let older = Join { may_skip_assignment: false, ..fixed("b") };
    let answers = group.join(at(2), &Join { new_member_id: "c".to_owned(), ..older }, 9);
    let back = joined(&answers)[0];
    assert_eq!((back.generation, back.leader.as_str(), back.members.len()), (1, "b", 0));
    let answers = group.sync(at(3), who("c"), 1, (None, None), &BTreeMap::new(), 4);
    assert_eq!(&synced(&answers)[0].assignment[..], b"mine");
    let former = Identity { member_id: "a", instance_id: Some("one") };
    assert_eq!(group.heartbeat(at(4), former, 1), Err(ResponseError::FencedInstanceId));
}

#[test]
fn members_without_a_common_assignor_dont_mix() {
    let mut group = stable(&["a"]);
    let other = Join { protocols: vec![("sticky".to_owned(), Bytes::new())], ..join("", "b") };
    let answers = group.join(at(500), &other, 5);
    assert_eq!(joined(&answers)[0].error, Some(ResponseError::InconsistentGroupProtocol));
    assert_eq!(group.state(), State::Stable);
}

/// What may happen to a group.
#[derive(Debug, Clone)]
enum Step {
    Join(u8),
    Sync(u8),
    Heartbeat(u8),
    Leave(u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0u8..5;
    prop_oneof![
        4 => member.clone().prop_map(Step::Join),
        4 => member.clone().prop_map(Step::Sync),
        2 => member.clone().prop_map(Step::Heartbeat),
        1 => member.prop_map(Step::Leave),
        2 => (0u16..12_000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever clients do: each request is answered exactly once, generations only grow, and a group left alone comes to rest.
    #[test]
    fn every_request_is_answered_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut group = Group::new(DELAY);
        let mut now = at(0);
        let mut waiting: BTreeSet<Token> = BTreeSet::new();
        let mut generation = 0;
        for (token, step) in (0..).zip(steps) {
            let name = |member: u8| format!("m{member}");
            let answers = match step {
                Step::Join(member) => {
                    waiting.insert(token);
                    let known = group.members().contains_key(&name(member));
                    let id = if known { name(member) } else { String::new() };
                    group.join(now, &join(&id, &name(member)), token)
                }
                Step::Sync(member) => {
                    waiting.insert(token);
                    let all = group.members().keys().map(|id| (id.clone(), Bytes::from(id.clone()))).collect();
                    group.sync(now, who(&name(member)), group.generation, (None, None), &all, token)
                }
                Step::Heartbeat(member) => {
                    let _told = group.heartbeat(now, who(&name(member)), group.generation);
                    Vec::new()
                }
                Step::Leave(member) => group.leave(now, who(&name(member))).1,
                Step::Pass(millis) => {
                    now += at(u64::from(millis));
                    group.tick(now)
                }
            };
            for answer in answers {
                let (Answer::Join(token, _) | Answer::Sync(token, _)) = answer;
                prop_assert!(waiting.remove(&token), "request {} was answered twice", token);
            }
            prop_assert!(group.generation >= generation);
            generation = group.generation;
            // An assignment is only ever handed out to the member it is for.
            if group.state() == State::Stable {
                for (id, member) in group.members() {
                    prop_assert!(member.assignment.is_empty() || &member.assignment[..] == id.as_bytes());
                }
            }
            let waits = group.members().values().filter(|member| member.waits()).count();
            prop_assert_eq!(waits, waiting.len());
        }
        // Left alone, all sessions end, and each tick makes progress.
        let mut ticks = 0;
        while let Some(deadline) = group.next_deadline() {
            now = now.max(deadline);
            for answer in group.tick(now) {
                let (Answer::Join(token, _) | Answer::Sync(token, _)) = answer;
                prop_assert!(waiting.remove(&token));
            }
            ticks += 1;
            prop_assert!(ticks < 200, "the group doesn't come to rest: {:?}", group);
        }
        prop_assert!(waiting.is_empty() && group.is_idle());
    }
}
