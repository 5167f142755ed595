// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Threading;

namespace YoloQ.Modbus
{
    /// <summary>A connection of a server came or went.</summary>
    public sealed class ConnectionEventArgs : EventArgs
    {
        /// <summary>The connection: the same object as in <see cref="RegistersWrittenEventArgs.Peer"/>.</summary>
        public object Peer { get; }

        /// <summary>Where it comes from.</summary>
        public EndPoint RemoteEndPoint { get; }

        internal ConnectionEventArgs(object peer, EndPoint remote)
        {
            Peer = peer;
            RemoteEndPoint = remote;
        }
    }

    /// <summary>
    /// A Modbus TCP server (slave) on a register bank: functions 1, 2, 3, 4, 5, 6, 15 and 16, several clients, a thread each.
    /// What is no Modbus TCP closes that connection and no other. Thread-safe.
    /// </summary>
    public sealed class ModbusServer : IDisposable
    {
        private const int PollMicroseconds = 250000;  // how late a stop may be noticed

        private readonly RegisterBank bank;
        private readonly object gate = new object();
        private readonly List<ServerConnection> connections = new List<ServerConnection>();
        private Socket listener;
        private Thread thread;
        private volatile bool stopping;
        private long requests;

        /// <summary>Makes a server; <see cref="Start"/> lets it listen.</summary>
        /// <param name="endPoint">Where to listen; port 0 picks a free one. The usual port is 502.</param>
        /// <param name="bank">What the clients see.</param>
        public ModbusServer(IPEndPoint endPoint, RegisterBank bank)
        {
            if (endPoint == null)
            {
                throw new ArgumentNullException("endPoint");
            }
            if (bank == null)
            {
                throw new ArgumentNullException("bank");
            }
            this.bank = bank;
            EndPoint = endPoint;
            MaxConnections = 16;
            IdleTimeout = TimeSpan.FromSeconds(60);
        }

        /// <summary>The unit id that is answered; others get exception 11. 0, the default: every unit id is answered.</summary>
        public byte Unit { get; set; }

        /// <summary>Most clients at once, default 16. One more closes the connection that has been silent longest.</summary>
        public int MaxConnections { get; set; }

        /// <summary>A connection without a complete request for this long is closed; default 60 s, zero: never.</summary>
        public TimeSpan IdleTimeout { get; set; }

        /// <summary>Where it listens; after Start with the real port, which a later Start uses again.</summary>
        public IPEndPoint EndPoint { get; private set; }

        /// <summary>Requests answered since it was made, refused ones included.</summary>
        public long RequestCount
        {
            get { return Interlocked.Read(ref requests); }
        }

        /// <summary>Clients connected now.</summary>
        public int ConnectionCount
        {
            get
            {
                lock (gate)
                {
                    return Live().Count;
                }
            }
        }

        /// <summary>A client has connected; raised on a thread of the server.</summary>
        public event EventHandler<ConnectionEventArgs> ConnectionOpened;

        /// <summary>A client goes; raised on a thread of the server before the client sees the connection closed.</summary>
        public event EventHandler<ConnectionEventArgs> ConnectionClosed;

        /// <summary>Listens. Does nothing if it listens already.</summary>
        /// <exception cref="ModbusConnectionException">The port is taken, or not allowed.</exception>
        public void Start()
        {
            lock (gate)
            {
                if (listener != null)
                {
                    return;
                }
                var socket = new Socket(EndPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                try
                {
                    if (Environment.OSVersion.Platform == PlatformID.Win32NT)
                    {
                        socket.ExclusiveAddressUse = true;  // elsewhere the default is right: exclusive, at once after a stop
                    }
                    socket.Bind(EndPoint);
                    socket.Listen(64);
                }
                catch (SocketException error)
                {
                    socket.Close();
                    throw new ModbusConnectionException("cannot listen on " + EndPoint + ": " + error.Message
                        + "; is another program using the port, or does a port below 1024 need more rights?", error);
                }
                EndPoint = (IPEndPoint)socket.LocalEndPoint;
                stopping = false;
                listener = socket;
                thread = new Thread(Accept) { IsBackground = true, Name = "yoloq modbus " + EndPoint.Port };
                thread.Start();
            }
        }

        /// <summary>Closes all connections and the port; returns when no thread of the server runs. May be started again.
        /// Not to be called from an event of the server or its bank.</summary>
        public void Stop()
        {
            Thread accepting;
            lock (gate)
            {
                if (listener == null)
                {
                    return;
                }
                stopping = true;
                accepting = thread;
            }
            accepting.Join();
            ServerConnection[] open;
            lock (gate)
            {
                open = connections.ToArray();
            }
            foreach (ServerConnection connection in open)
            {
                connection.Close();
            }
            foreach (ServerConnection connection in open)
            {
                connection.Join();
            }
            lock (gate)
            {
                if (listener != null)
                {
                    listener.Close();
                    listener = null;
                }
            }
        }

        /// <summary>As <see cref="Stop"/>.</summary>
        public void Dispose()
        {
            Stop();
        }

        internal void Leaving(ServerConnection connection)
        {
            Raise(ConnectionClosed, connection);
        }

        internal void Forget(ServerConnection connection)
        {
            lock (gate)  // last: Stop waits for those that are in the list
            {
                connections.Remove(connection);
            }
        }

        internal void Count()
        {
            Interlocked.Increment(ref requests);
        }

        private void Accept()
        {
            while (!stopping)
            {
                try
                {
                    if (listener.Poll(PollMicroseconds, SelectMode.SelectRead) && !stopping)
                    {
                        Welcome(listener.Accept());
                    }
                }
                catch (SocketException)  // gone again before it was accepted
                {
                    Thread.Sleep(10);
                }
            }
        }

        private void Welcome(Socket socket)
        {
            ServerConnection connection;
            try
            {
                connection = new ServerConnection(this, socket, new RequestHandler(bank, socket), Unit, IdleTimeout);
            }
            catch (SocketException)  // gone again already
            {
                socket.Close();
                return;
            }
            lock (gate)
            {
                List<ServerConnection> live = Live();
                if (live.Count >= Math.Max(1, MaxConnections))
                {
                    LongestSilent(live).Close();
                }
                connections.Add(connection);
            }
            Raise(ConnectionOpened, connection);
            connection.Start();
        }

        private List<ServerConnection> Live()
        {
            return connections.FindAll(connection => !connection.Closing);
        }

        private static ServerConnection LongestSilent(List<ServerConnection> live)
        {
            ServerConnection found = live[0];
            foreach (ServerConnection connection in live)
            {
                if (connection.SilentMilliseconds > found.SilentMilliseconds)
                {
                    found = connection;
                }
            }
            return found;
        }

        private void Raise(EventHandler<ConnectionEventArgs> handler, ServerConnection connection)
        {
            if (handler != null)
            {
                handler(this, new ConnectionEventArgs(connection.Peer, connection.RemoteEndPoint));
            }
        }
    }
}
