// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections;
using System.Collections.Generic;
using System.Diagnostics;
using System.Drawing;
using System.IO;
using System.Runtime.Serialization;
using System.Text;
using System.Threading;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;
using YoloQ.WinForms.Views;

namespace YoloQ.WinForms.Automation
{
    /// <summary>
    /// For tests and line supervision: a line on standard input asks, a line of JSON on standard output answers.
    /// <c>describe</c>: all controls with their places on the screen; <c>status</c>: what the station does;
    /// <c>reset-heartbeat</c>; <c>collect</c> garbage; <c>open-package PATH</c>; <c>open-source PATH</c>; <c>quit</c>.
    /// </summary>
    public sealed class AutomationServer
    {
        private readonly MainForm _form;
        private readonly Station _station;
        private readonly Heartbeat _heartbeat;
        private readonly TextReader _in;
        private readonly TextWriter _out;

        public AutomationServer(MainForm form, Station station, Heartbeat heartbeat, TextReader input, TextWriter output)
        {
            _form = form;
            _station = station;
            _heartbeat = heartbeat;
            _in = input;
            _out = output;
        }

        public void Begin()
        {
            new Thread(Run) { Name = "automation", IsBackground = true }.Start();
        }

        private void Run()
        {
            string line;
            while ((line = _in.ReadLine()) != null)
            {
                string[] words = line.Split(new[] { ' ' }, 2);
                string argument = words.Length > 1 ? words[1] : "";
                Func<string> answer = Nothing;
                if (words[0] == "collect")
                {
                    Collect(); // here: the window goes on reacting
                }
                else if (!OnWindow(() => answer = Answer(words[0], argument)))
                {
                    return;
                }
                _out.WriteLine(answer());
                _out.Flush();
            }
        }

        /// <summary>Runs it on the UI thread; false: the window has closed, and the program ends.</summary>
        private bool OnWindow(MethodInvoker action)
        {
            try
            {
                _form.Invoke(action);
                return true;
            }
            catch (InvalidOperationException)
            {
                return false;
            }
        }

        private static string Nothing()
        {
            return "{}";
        }

        private static void Collect()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
        }

        /// <summary>Collects what is asked for, on the UI thread; what is returned makes the JSON of it, which takes longer,
        /// on another.</summary>
        private Func<string> Answer(string command, string argument)
        {
            switch (command)
            {
                case "describe":
                    List<ControlFact> controls = Describe();
                    return () => Json(controls);
                case "status":
                    StatusFact status = Status();
                    return () => Json(status);
                case "reset-heartbeat":
                    _heartbeat.Reset();
                    return Nothing;
                case "open-package":
                    _form.OpenPackage(argument);
                    return Nothing;
                case "open-source":
                    _form.OpenSource(argument);
                    return Nothing;
                case "quit":
                    _form.BeginInvoke((MethodInvoker)Quit);
                    return Nothing;
                default:
                    return () => "{\"error\":\"unknown command\"}";
            }
        }

        private void Quit()
        {
            var again = new System.Windows.Forms.Timer { Interval = 20 };
            again.Tick += (sender, e) =>
            {
                foreach (Form form in new ArrayList(Application.OpenForms))
                {
                    if (form != _form)
                    {
                        form.DialogResult = DialogResult.Cancel;
                        return;
                    }
                }
                if (_form.IsAsking)
                {
                    return; // the dialog's message loop, not yet left, would swallow the end of the window's
                }
                again.Dispose();
                _form.Close();
            };
            again.Start();
        }

        private static List<ControlFact> Describe()
        {
            var facts = new List<ControlFact>();
            foreach (Form form in Application.OpenForms)
            {
                Add(facts, form);
            }
            return facts;
        }

        private static void Add(List<ControlFact> facts, Control control)
        {
            Rectangle place = control.RectangleToScreen(control.ClientRectangle);
            facts.Add(new ControlFact
            {
                Name = control.Name,
                Kind = control.GetType().Name,
                Text = control.Text,
                Value = control.AccessibleDescription ?? "",
                Visible = control.Visible,
                Enabled = control.Enabled,
                Place = new[] { place.X, place.Y, place.Width, place.Height }
            });
            var slider = control as Slider;
            if (slider != null)
            {
                Rectangle track = slider.RectangleToScreen(slider.Track);
                facts[facts.Count - 1].Track = new[] { track.X, track.Y, track.Width, track.Height };
            }
            foreach (Control child in control.Controls)
            {
                Add(facts, child);
            }
        }

        private StatusFact Status()
        {
            StationStatus status = _station.Status;
            InspectedFrame frame = _station.Frames.Front;
            var entries = new List<JournalEntry>();
            _station.Log.CopyTo(entries);
            return new StatusFact
            {
                State = status.State.ToString(),
                Fault = status.Fault,
                Model = status.Model == null ? "" : status.Model.Name,
                Source = status.SourceName,
                Picture = frame.Name,
                Inspected = frame.Inspected,
                Objects = frame.Count,
                Labels = Labels(frame, status),
                Ok = _station.Counters.Ok,
                Ng = _station.Counters.Ng,
                Errors = _station.Counters.Errors,
                Alarm = _station.Alarm.State.ToString(),
                Saved = _station.Ng.Saved,
                Dropped = _station.Ng.Dropped,
                Plc = _station.Plc.State.ToString(),
                Throughput = status.Throughput,
                Beats = _heartbeat.Beats,
                BeatP50 = _heartbeat.Percentile(0.5),
                BeatP99 = _heartbeat.Percentile(0.99),
                BeatMax = _heartbeat.MaxMs,
                ManagedBytes = GC.GetTotalMemory(false),
                ProcessBytes = Process.GetCurrentProcess().WorkingSet64,
                Log = entries.ConvertAll(entry => entry.Key + "|" + entry.Text)
            };
        }

        private static List<string> Labels(InspectedFrame frame, StationStatus status)
        {
            var labels = new List<string>();
            for (int i = 0; i < frame.Count && i < 100; i++)
            {
                int id = frame.Found[i].ClassId;
                labels.Add(id >= 0 && id < status.ClassNames.Count ? status.ClassNames[id] : id.ToString());
            }
            return labels;
        }

        private static string Json<T>(T value)
        {
            return Encoding.UTF8.GetString(JsonFile.ToBytes(value, false));
        }
    }

    /// <summary>One control: its place on the screen is x, y, width, height in pixels.</summary>
    [DataContract]
    public sealed class ControlFact
    {
        [DataMember(Name = "name")] public string Name;
        [DataMember(Name = "kind")] public string Kind;
        [DataMember(Name = "text")] public string Text;
        [DataMember(Name = "value")] public string Value;
        [DataMember(Name = "visible")] public bool Visible;
        [DataMember(Name = "enabled")] public bool Enabled;
        [DataMember(Name = "place")] public int[] Place;
        [DataMember(Name = "track", EmitDefaultValue = false)] public int[] Track;
    }

    /// <summary>What the station does; times in milliseconds.</summary>
    [DataContract]
    public sealed class StatusFact
    {
        [DataMember(Name = "state")] public string State;
        [DataMember(Name = "fault")] public bool Fault;
        [DataMember(Name = "model")] public string Model;
        [DataMember(Name = "source")] public string Source;
        [DataMember(Name = "picture")] public string Picture;
        [DataMember(Name = "inspected")] public bool Inspected;
        [DataMember(Name = "objects")] public int Objects;
        [DataMember(Name = "labels")] public List<string> Labels;
        [DataMember(Name = "ok")] public long Ok;
        [DataMember(Name = "ng")] public long Ng;
        [DataMember(Name = "errors")] public long Errors;
        [DataMember(Name = "alarm")] public string Alarm;
        [DataMember(Name = "saved")] public long Saved;
        [DataMember(Name = "dropped")] public long Dropped;
        [DataMember(Name = "plc")] public string Plc;
        [DataMember(Name = "throughput")] public float Throughput;
        [DataMember(Name = "beats")] public long Beats;
        [DataMember(Name = "beat_p50")] public double BeatP50;
        [DataMember(Name = "beat_p99")] public double BeatP99;
        [DataMember(Name = "beat_max")] public double BeatMax;
        [DataMember(Name = "managed_bytes")] public long ManagedBytes;
        [DataMember(Name = "process_bytes")] public long ProcessBytes;
        [DataMember(Name = "log")] public List<string> Log;
    }
}
