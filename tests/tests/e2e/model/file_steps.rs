//! What happens to files of networks.

use std::thread;
use std::time::Duration;

use super::draw;
use super::files::{By, Content, Place, SET, lists};
use super::policy::Networks;
use super::steps::Done;
use super::world::World;

/// A look at files comes within this time. A kill comes at any moment of it.
const LOOK: Duration = Duration::from_millis(1500);
/// The agent takes a file that has looked the same twice.
const LOOKS: Duration = Duration::from_millis(2500);

impl World<'_> {
    /// All files that a configuration may name.
    pub(super) fn write_files(&mut self) {
        for place in draw::places() {
            let networks = draw::networks(&mut self.random, place.1);
            let content = (Content::Networks(networks), By::Rename);
            self.files.write(&self.site.scratch, place, content);
        }
    }

    /// A file that changes, mostly one that the configuration names. What is wrong is often mended, and often waits while
    /// others change.
    fn draw_file(&mut self) -> Place {
        let not_taken = self.files.not_taken(&self.policy);
        if !not_taken.is_empty() && self.random.once_in(2) {
            return *self.random.one_of(&not_taken);
        }
        let with_file: Vec<_> = lists(&mut self.policy)
            .filter(|(_, list)| list.file.is_some())
            .map(|(place, _)| place)
            .collect();
        if !with_file.is_empty() && !self.random.once_in(4) {
            return *self.random.one_of(&with_file);
        }
        let all: Vec<_> = draw::places().collect();
        *self.random.one_of(&all)
    }

    pub(super) fn file(&mut self) -> Done {
        let place = self.draw_file();
        let was_wrong = self.files.not_taken(&self.policy).contains(&place);
        let content = if was_wrong {
            Content::Networks(draw::networks(&mut self.random, place.1))
        } else if let Some(networks) = self.opposite(place).filter(|_| self.random.once_in(3)) {
            // It contradicts the other file, until that changes.
            Content::Networks(networks)
        } else {
            draw::content(&mut self.random, place.1)
        };
        let by = *self.random.one_of(&[By::Rename, By::Rename, By::Writing]);
        let what = match (&content, by) {
            (Content::Wrong, _) => "file with a wrong line",
            (Content::Missing, _) => "file removed",
            (Content::Networks(networks), _) if networks.is_empty() => "file emptied",
            (_, By::Rename) => "file renamed into place",
            (_, By::Writing) => "file written in place",
        };
        self.files.write(&self.site.scratch, place, (content, by));
        let after = self.files.looked_at(&self.policy);
        let before = std::mem::replace(&mut self.policy, after);
        // Nothing may show yet whether it is in force: rules of commands may hide it.
        let is_hidden = || before.listed(place.0) == self.policy.listed(place.0);
        if place.1 == "trusted" || place.1 != SET && is_hidden() {
            thread::sleep(LOOKS);
        }
        (what, self.deviations_in_the_end())
    }

    /// What the list has that must not have a network of this one.
    fn opposite(&self, (name, kind): Place) -> Option<Networks> {
        let listener = self.policy.listener(name)?;
        match kind {
            "allow" => Some(listener.deny.all()),
            "deny" => Some(listener.allow.all()),
            _ => None,
        }
    }

    /// Gives files what is in force.
    pub(super) fn mend(&mut self, places: &[Place]) {
        let mut policy = self.policy.clone();
        for (place, list) in lists(&mut policy).filter(|(place, _)| places.contains(place)) {
            let networks = list.file.clone().expect("it has a file");
            self.files.write(&self.site.scratch, place, (Content::Networks(networks), By::Rename));
        }
    }

    pub(super) fn killed_in_look(&mut self) -> Done {
        let place = self.draw_file();
        let networks = draw::networks(&mut self.random, place.1);
        let mut files = self.files.clone();
        files.0.insert(place, Content::Networks(networks.clone()));
        let Some(new) = files.load(self.policy.clone()) else { return self.file() };
        self.files.write(&self.site.scratch, place, (Content::Networks(networks), By::Rename));
        self.killed_within(LOOK, new, "killed while a file changes")
    }
}
