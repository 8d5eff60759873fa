//! What lazy links are for: messages that are announced, missed, asked for and answered.

use super::{
    DeliveryScope, Gossip, Graft, IHave, Message, Round, Sink, State, announce, catch_up,
    make_eager,
    missing::{Claim, Outcome, Wanted},
    neighbors::{Neighbor, NeighborSet, Serial},
};
use crate::proto::{Counters, MessageId, PeerIdentity, clock::At};

const SECOND: u64 = 1_000_000_000;

/// A message that nobody may be asked for now is put off for so many timeouts at the most, at a time.
const MOST_TURNS: u8 = 8;

impl<PI: PeerIdentity> State<PI> {
    /// A neighbor announces messages (section 3.8, "Fault Tolerance and Tree Repair"). Whether it
    /// is lazy or eager to us is of no importance: to it we are lazy, or new.
    pub(super) fn handle_ihave(
        &mut self,
        from: PI,
        ihaves: &[IHave],
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let (limit, neighbor_count) = (self.settings.missing_ids, self.neighbors.len());
        if self.neighbors.find(&from).is_some() {
            self.missing
                .clear_orphans(ihaves.len(), limit, &mut self.neighbors);
        }
        let at_rest = self.missing.is_empty() && self.neighbors.are_settled(now);
        let Some(neighbor) = self.neighbors.find(&from) else {
            counters.stranger_control += 1;
            return;
        };
        if ihaves.is_empty() {
            self.tell_latest(from, now, sink);
            return;
        }
        // Which of many are known. One is looked up where it is handled.
        let mut all_known = Vec::new();
        if ihaves.len() > 1 {
            all_known.extend(ihaves.iter().map(|one| self.history.find(&one.id)));
            let news = all_known.iter().filter(|known| known.is_none());
            self.missing.reserve(news.count(), limit);
        }
        let mut silent = false;
        let mut crowded = Vec::new();
        let (mut crossed, mut is_first) = (None, false);
        let may_be_first = !self.lazy_push.is_empty();
        for (at, ihave) in ihaves.iter().enumerate() {
            let known = match all_known.get(at) {
                Some(known) => *known,
                None => self.history.find(&ihave.id),
            };
            if let Some(known) = known {
                self.history.mark_shared(known);
                self.delays.heard(neighbor.serial);
                if may_be_first {
                    let number = self.history.number(known);
                    is_first |= self.lazy_push.strike_off(number, neighbor);
                }
                crossed = Some(&ihave.id);
                continue;
            }
            let claim = Claim {
                claimant: neighbor.serial,
                round: ihave.round,
            };
            let due = now.after(self.delays.until_graft(at_rest, now));
            let used = neighbor.announced_first;
            let has_room = self.missing.has_room(limit, used, neighbor_count);
            let bounds = (has_room, self.settings.claims_per_id);
            let outcome = self.missing.claim(ihave.id, claim, now, due, bounds);
            match outcome {
                Outcome::First => {
                    neighbor.announced_first += 1;
                    silent |= self.delays.announced(neighbor.serial, now);
                }
                Outcome::Noted => {}
                Outcome::Full => counters.missing_full += 1,
                Outcome::EnoughClaims => crowded.push((ihave.id, claim)),
            }
        }
        if is_first {
            neighbor.announces = true;
            let holding = &self.settings.holding;
            self.lazy_push.look_again(&self.neighbors, holding);
        } else if let Some(id) = crossed {
            neighbor.crossed(id);
        }
        for (id, claim) in crowded {
            let is_noted = self.missing.replace_claim(&id, claim, &mut self.neighbors);
            counters.claims_full += u64::from(!is_noted);
        }
        if silent {
            self.missing.hasten(now);
        }
    }

    /// Asks for messages that were announced and did not come in time (section 3.8).
    ///
    /// Those who have left are passed over: their announcements went with them (section 3.9). So
    /// are, for now, those whom we ask too much: who makes up announcements is asked at a limited
    /// rate, and keeps nobody else waiting.
    pub(super) fn send_grafts(
        &mut self,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let rate = question_rate(self.settings.grafts_per_second);
        let timeout = self.delays.answer.timeout();
        let mut refused = 0;
        while let Some((id, wanted)) = self.missing.pop_due(now) {
            let mut limited = false;
            let claim = wanted.next_claim(|claim| {
                let Some(claimant) = self.neighbors.by_serial(claim.claimant) else {
                    return false;
                };
                let granted = claimant.allowances().questions.take(rate, now);
                limited |= !granted;
                granted
            });
            if let Some(claim) = claim
                && let Some(claimant) = self.neighbors.by_serial(claim.claimant)
            {
                make_eager(claimant, &self.lazy_push, &self.settings, sink);
                let graft = Graft {
                    id: Some(id),
                    round: claim.round,
                };
                self.questions.note(
                    claimant.serial,
                    IHave {
                        id,
                        round: claim.round,
                    },
                    wanted.announced,
                    now,
                );
                sink.send(claimant.peer, Message::Graft(graft));
            }
            // Until those before it have had their turn.
            let turns = (refused + 1) * SECOND / u64::from(rate) / timeout.max(1);
            let turns = turns.clamp(1, MOST_TURNS.into()) as u8;
            if claim.is_some() {
                self.missing.put_off(id, timeout, now);
            } else if limited && wanted.waits_patiently(turns) {
                refused += 1;
                let wait = timeout.saturating_mul(turns.into());
                self.missing.put_off(id, wait, now);
            } else {
                counters.missing_full += u64::from(limited);
                self.stop_waiting_for(&id);
                self.missing.shrink();
            }
        }
    }

    /// A link is gone that brought payloads a moment ago. The paper waits until what is missing is
    /// announced, and then for a timeout; everything that is said meanwhile would be late by that.
    /// So all who announce are asked to push from now on. Which of these links are too many the
    /// next duplicates will tell.
    pub(super) fn replace_link(&mut self, lost: &Neighbor<PI>, now: At, sink: &mut impl Sink<PI>) {
        if !lost.eager || !lost.is_busy(now) {
            return;
        }
        for neighbor in self.neighbors.iter_mut().filter(|one| !one.eager) {
            make_eager(neighbor, &self.lazy_push, &self.settings, sink);
            let round = Round::from(0);
            sink.send(neighbor.peer, Message::Graft(Graft { id: None, round }));
        }
        self.missing.hasten(now);
        self.delays.turned(now);
    }

    /// A neighbor wants payloads, and perhaps one that it missed (section 3.8).
    pub(super) fn handle_graft(
        &mut self,
        from: PI,
        graft: &Graft,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            counters.stranger_control += 1;
            return;
        };
        make_eager(neighbor, &self.lazy_push, &self.settings, sink);
        let Some(id) = graft.id else {
            return;
        };
        let known = self.history.find(&id);
        let Some((known, (content, round))) =
            known.and_then(|known| Some((known, self.history.payload(known)?)))
        else {
            counters.graft_unknown += 1;
            return;
        };
        if !neighbor
            .allowances()
            .answers
            .take(self.settings.grafts_per_second, now)
        {
            counters.graft_limited += 1;
            sink.send(from, Message::IHave([IHave { id, round }].into()));
            return;
        }
        self.history.mark_shared(known);
        let scope = DeliveryScope::Swarm(round);
        sink.send(from, Message::Gossip(Gossip { id, content, scope }));
    }

    /// Learns from a payload that is new how long payloads take. If it was waited for, it is said since when.
    #[inline]
    pub(super) fn measure(&mut self, id: MessageId, by: Serial, announced: Option<At>, now: At) {
        match (self.questions.answered(&id, by), announced) {
            (Some((asked, announced)), _) => {
                self.delays.answer.sample(now.since(asked));
                self.delays.recovered(id, announced);
            }
            (None, Some(announced)) => self.delays.brought(announced, now),
            (None, None) => self.delays.lag.sample(0),
        }
    }

    /// The same from one that is here already: it may be the answer of one more neighbor that was asked, or what the
    /// tree has brought after all.
    #[inline]
    pub(super) fn measure_duplicate(&mut self, id: &MessageId, from: &PI, now: At) {
        // As a rule nobody was asked.
        if !self.questions.is_empty()
            && let Some(sender) = self.neighbors.find(from)
            && let Some((asked, _)) = self.questions.answered(id, sender.serial)
        {
            self.delays.answer.sample(now.since(asked));
        } else {
            self.delays.brought_again(id, now);
        }
    }

    /// Strikes a message off the missing ones. Returns what was known of it, and who announced it.
    pub(super) fn stop_waiting_for(&mut self, id: &MessageId) -> (Option<Wanted>, NeighborSet) {
        let Some(wanted) = self.missing.remove(id) else {
            return (None, 0);
        };
        if let Some(first) = self.neighbors.by_serial(wanted.first) {
            first.announced_first = first.announced_first.saturating_sub(1);
        }
        let mut known_to = 0;
        for claim in &wanted.claims {
            if let Some(claimant) = self.neighbors.by_serial(claim.claimant) {
                known_to |= claimant.bit();
            }
        }
        (Some(wanted), known_to)
    }

    /// Announces to a neighbor what came since it came up, and what it was told of then: it may not
    /// have got all of that.
    /// Without this a message that went into a dead connection would be lost, as nobody else may be
    /// there to announce it.
    pub(super) fn announce_again(&mut self, peer: &PI, sink: &mut impl Sink<PI>) {
        if let Some(neighbor) = self.neighbors.find(peer) {
            let since = catch_up::told_since(neighbor);
            let most = self.settings.announced_again;
            let count = self.history.payloads_since(since, most);
            let count = count.max(self.settings.late_join_history);
            let end = self.history.next_number();
            let ihaves = self.history.announcements(end, count);
            announce(*peer, ihaves, &self.settings, sink);
        }
    }

    /// Asks a neighbor once more for what it was asked for lately and has not sent: the question may
    /// not have arrived. As if the neighbor had announced all that again.
    pub(super) fn ask_again(
        &mut self,
        peer: PI,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let Some(neighbor) = self.neighbors.find(&peer) else {
            return;
        };
        let wanted = self.questions.take_of(neighbor.serial, now);
        if !wanted.is_empty() {
            self.handle_ihave(peer, &wanted, now, counters, sink);
        }
    }

    /// Tells new neighbors of messages from before they came.
    pub(super) fn introduce_earlier_messages(&mut self, now: At, sink: &mut impl Sink<PI>) {
        let due = self.introductions.iter().take_while(|one| one.due <= now);
        let due = due.count();
        for introduction in self.introductions.drain(..due) {
            let recent = self.settings.late_join_history;
            if let Some(neighbor) = self.neighbors.by_serial(introduction.to) {
                let ihaves = self.history.announcements(introduction.before, recent);
                announce(neighbor.peer, ihaves, &self.settings, sink);
            }
        }
    }
}

/// Grafts to one peer in a second, where so many are answered. Fewer, since some that were asked
/// one after the other come together.
fn question_rate(answers: u32) -> u32 {
    (answers - answers / 4).max(1)
}
