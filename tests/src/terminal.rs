//! A terminal: a shell in a pane of tmux, with a server of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::{attempt, run};
use crate::scratch::Scratch;
use crate::wait::eventually;

/// A terminal with a shell in it; both end on drop.
#[derive(Debug)]
pub struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Opens it with so many columns and lines.
    ///
    /// # Panics
    /// When tmux does not do it.
    #[must_use]
    pub fn open(scratch: &Scratch, columns: u16, lines: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: scratch.path(&format!("tmux-{number}.sock")) };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let session = ["new-session", "-d", "-x", &columns, "-y", &lines];
        // No status line, and neither the user's configuration nor that of the shell.
        let shell = "env PS1='shell> ' TERM=screen-256color bash --norc --noprofile";
        terminal.tmux(&[&["-f", "/dev/null"], &session[..], &[shell]].concat());
        terminal.tmux(&["set-option", "-g", "status", "off"]);
        terminal.resize(&columns, &lines);
        terminal.wait("shell>");
        terminal
    }

    /// Types a line, and the key at its end.
    pub fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    /// Presses a key, such as `q`, `Down` or `C-c`.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Gives it another size.
    pub fn resize(&self, columns: &str, lines: &str) {
        self.tmux(&["resize-window", "-x", columns, "-y", lines]);
    }

    /// The text that it shows.
    #[must_use]
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with colours, bold letters and reverse video, as an HTML document of this title.
    #[must_use]
    pub fn html(&self, title: &str) -> String {
        crate::styled::html(title, &self.tmux(&["capture-pane", "-e", "-p"]))
    }

    /// Whether it shows the screen that programs draw on, and not the one with the shell's lines.
    #[must_use]
    pub fn is_drawn_on(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// Whether it shows a cursor.
    #[must_use]
    pub fn has_cursor(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{cursor_flag}"]).trim() == "1"
    }

    /// Waits until it shows `part`; all that it shows then.
    ///
    /// # Panics
    /// When it does not soon.
    pub fn wait(&self, part: &str) -> String {
        self.wait_until(part, |text| text.contains(part))
    }

    /// Waits until it shows what is looked for; all that it shows then.
    ///
    /// # Panics
    /// When it does not soon.
    pub fn wait_until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = crate::wait::until(std::time::Duration::from_secs(20), || {
            last = self.text();
            is_it(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("the terminal does not show {what}:\n{last}"))
    }

    /// Waits until the program that drew has ended.
    pub fn wait_shell(&self) {
        eventually("the shell's own screen", || (!self.is_drawn_on()).then_some(()));
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.socket.display().to_string();
        run("tmux", &[&["-u", "-S", &socket], arguments].concat())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut tmux = std::process::Command::new("tmux");
        let _ = attempt(tmux.arg("-S").arg(&self.socket).arg("kill-server"));
    }
}
